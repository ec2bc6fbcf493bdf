"""Requantiser: turns exact sums into 8-bit activations, as `golden.arithmetic.requantise` does.

It is a pipeline that never stalls: it takes a result a cycle, and the activation follows
`REQUANTISER_LATENCY` cycles later. The clamp to u8 is the ReLU.
"""

from amaranth import Module, Mux, Signal
from amaranth.hdl import signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from golden import arithmetic
from hw.contract.config import Config
from hw.contract.timing import REQUANTISER_LATENCY
from hw.engine.residual_banks import READ_LATENCY
from hw.layouts.descriptor import RequantiserRecord
from hw.layouts.pixels import Result, Tag, sum_bits
from hw.lib.multiplier import WIDE_LATENCY, product, wide_product
from hw.lib.pipeline import clamp, delayed, round_shift

__all__ = ["Activation", "Requantiser"]


class Activation(data.StructLayout):
    """One finished ofm pixel; `last` marks the last pixel of its task."""

    def __init__(self, config: Config) -> None:
        super().__init__(
            {
                "value": 8,
                "index": unsigned(ceil_log2(config.ofm_words)),
                "tag": Tag(config),
                "last": 1,
            }
        )


class Requantiser(wiring.Component):
    """Adds bias and residual, saturates, scales, rounds and clamps.

    Members
    -------
    signed_output : In(1)
        Clamp to s8, not u8. Stable from a result until its activation.
    results : In(stream of Result), always ready
    record : In(RequantiserRecord)
        That of the result's channel, in the same cycle as the result.
    residual : In(signed(9))
        The number that is added to the result of `hw.engine.residual_banks.READ_LATENCY` cycles
        before.
    activations : Out(stream of Activation), always ready
    """

    signed_output: Signal
    results: stream.Interface
    record: data.View
    residual: Signal
    activations: stream.Interface

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "signed_output": In(1),
                "results": In(stream.Signature(Result(config), always_ready=True)),
                "record": In(RequantiserRecord()),
                "residual": In(signed(9)),
                "activations": Out(stream.Signature(Activation(config), always_ready=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sum_width = max(sum_bits(self._config), arithmetic.ACC_BITS) + 2

        # The residual arrives and is scaled to the sum.
        arrival = READ_LATENCY
        shortcut = product(m, self.residual, delayed(m, self.record.shortcut_multiplier, arrival))
        scaled = round_shift(m, shortcut, delayed(m, self.record.shortcut_shift, arrival))
        # Bias, residual, saturation.
        biased = Signal(signed(sum_width), reset_less=True)
        total = Signal(signed(sum_width))
        acc = Signal(signed(arithmetic.ACC_BITS), reset_less=True)
        m.d.sync += [
            biased.eq(self.results.payload.sum + self.record.bias),
            acc.eq(clamp(total, arithmetic.signed_range(arithmetic.ACC_BITS))),
        ]
        m.d.comb += total.eq(delayed(m, biased, arrival + 2) + scaled)
        # Multiplication.
        multiplier = delayed(m, self.record.multiplier, arrival + 4)
        scaled_acc = wide_product(m, acc, multiplier)
        # Rounding, shift, clamp.
        shifted = round_shift(m, scaled_acc, delayed(m, self.record.shift, arrival + 5))
        rounding, clamping = 2, 1
        assert arrival + 4 + WIDE_LATENCY + rounding + clamping == REQUANTISER_LATENCY
        value = self.activations.payload.value
        m.d.sync += value.eq(
            Mux(
                self.signed_output,
                clamp(shifted, arithmetic.S8),
                clamp(shifted, arithmetic.U8),
            )
        )

        payload = self.activations.payload
        m.d.comb += [
            self.activations.valid.eq(delayed(m, self.results.valid, REQUANTISER_LATENCY)),
            payload.index.eq(delayed(m, self.results.payload.index, REQUANTISER_LATENCY)),
            payload.tag.eq(delayed(m, self.results.payload.tag, REQUANTISER_LATENCY)),
            payload.last.eq(delayed(m, self.results.payload.last, REQUANTISER_LATENCY)),
        ]
        return m
