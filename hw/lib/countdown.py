"""Countdown: the steps of a loop, with a register that marks the last step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth import Mux, Signal, Value

if TYPE_CHECKING:
    from amaranth.hdl._ast import Assign

__all__ = ["Countdown"]


class Countdown:
    """Counts the steps of a round, one round after another.

    Parameters
    ----------
    steps : Value, unsigned
        Steps of a round, at least 1. Stable from the round's first step on.

    Attributes
    ----------
    last : Signal
        The present step is its round's last. It comes from a register, not from a comparison.
    """

    def __init__(self, steps: Value) -> None:
        self._steps = steps
        self._left = Signal(steps.shape())
        self.last = Signal()

    def begin(self) -> list[Assign]:
        """Statements that go to the first step of a round."""
        return [self._left.eq(self._steps), self.last.eq(self._steps == 1)]

    def advance(self) -> list[Assign]:
        """Statements that go to the next step, which after a round's last is the first again."""
        return [
            self._left.eq(Mux(self.last, self._steps, self._left - 1)),
            self.last.eq(Mux(self.last, self._steps == 1, self._left == 2)),
        ]
