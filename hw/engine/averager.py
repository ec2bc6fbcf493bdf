"""Averager: divides the sums of a pooling window by its size, one lane after another."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import Shape, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from golden import arithmetic
from hw.contract.config import Config
from hw.lib.multiplier import WIDE_LATENCY, wide_product
from hw.lib.pipeline import clamp, round_shift

__all__ = ["AVERAGER_LATENCY", "Averager"]

AVERAGER_LATENCY = 4 + WIDE_LATENCY
"""Cycles from the phase in which a lane's sum is taken to its average."""


class Averager(wiring.Component):
    """Averages G lanes with one multiplier, as `golden.layers.pool` does.

    Lane n is taken in the cycle in which `phase` is `first_phase + n`, and its average is there
    `AVERAGER_LATENCY` cycles later.

    Parameters
    ----------
    sums : Shape
        That of a lane's sum, signed.
    first_phase, phases : int
        `phase` counts from 0 to `phases`.

    Members
    -------
    phase : In(range(phases + 1))
    sums : In(sums).array(G)
        Stable from the first phase on, until the last is taken.
    multiplier, shift : In
        An average is its sum times `multiplier` / 2**`shift`, rounded.
    ofm_signed : In(1)
        Clamp the averages to s8, not u8.
    averages : Out(8 * G)
        The last G averages, the oldest in the lowest byte.
    """

    phase: Signal
    sums: list[Signal]
    multiplier: Signal
    shift: Signal
    ofm_signed: Signal
    averages: Signal

    def __init__(self, config: Config, *, sums: Shape, first_phase: int, phases: int) -> None:
        self._config = config
        self._sums = sums
        self._first_phase = first_phase
        super().__init__(
            {
                "phase": In(range(phases + 1)),
                "sums": In(sums).array(config.group),
                "multiplier": In(unsigned(arithmetic.MULTIPLIER_BITS)),
                "shift": In(unsigned(bits_for(arithmetic.SHIFT_MAX))),
                "ofm_signed": In(1),
                "averages": Out(8 * config.group),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        total = Signal(self._sums, reset_less=True)
        with m.Switch(self.phase):
            for number, lane in enumerate(self.sums):
                with m.Case(self._first_phase + number):
                    m.d.sync += total.eq(lane)
        rounded = round_shift(m, wide_product(m, total, self.multiplier), self.shift)
        average = Signal(8, reset_less=True)
        earlier = Signal(8 * (self._config.group - 1), reset_less=True)
        m.d.comb += self.averages.eq(Cat(earlier, average))
        m.d.sync += [
            average.eq(
                Mux(
                    self.ofm_signed,
                    clamp(rounded, arithmetic.S8),
                    clamp(rounded, arithmetic.U8),
                )
            ),
            earlier.eq(self.averages[8:]),
        ]
        return m
