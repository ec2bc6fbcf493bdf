"""Countdowns of a walk's steps, which know the last step before it is taken."""

from amaranth import Mux, Signal, Value

__all__ = ["Countdown"]


class Countdown:
    """Steps of a round, one round after another.

    Parameters
    ----------
    steps : Value, unsigned
        Of a round, at least 1; stable from its first step on.

    Attributes
    ----------
    last : Signal
        The step in work is a round's last: out of a register, not compared when it is taken.
    """

    def __init__(self, steps: Value) -> None:
        self._steps = steps
        self._left = Signal(steps.shape())
        self.last = Signal()

    def begin(self) -> list:
        """Statements that make the first step of a round the one in work."""
        return [self._left.eq(self._steps), self.last.eq(self._steps == 1)]

    def advance(self) -> list:
        """Statements that end the step in work: the next one follows, or a round."""
        return [
            self._left.eq(Mux(self.last, self._steps, self._left - 1)),
            self.last.eq(Mux(self.last, self._steps == 1, self._left == 2)),
        ]
