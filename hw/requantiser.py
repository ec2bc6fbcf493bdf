"""Requantiser: from an exact sum to an 8-bit activation, as `golden.arithmetic.requantise`.

A pipeline without stalls: one result a cycle, `LATENCY` cycles from result to activation. The ReLU
is the clamp to u8.
"""

from amaranth import Module, Mux, Signal
from amaranth.hdl import signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from golden import arithmetic
from hw.config import Config
from hw.descriptor import ChannelRecord
from hw.pipeline import clamp, delayed, round_shift
from hw.residuals import READ_LATENCY
from hw.work import Result, Tag, sum_bits

__all__ = ["LATENCY", "Activation", "Requantiser"]

LATENCY = 8 + READ_LATENCY

_FINE_BITS = 3


class Activation(data.StructLayout):
    """One finished ofm pixel."""

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
        Clamp to s8, not u8. Stable while results are under way.
    results : In(stream of Result), always ready
    record : In(ChannelRecord)
        Of the channel that `results.payload.tag` names, in the same cycle.
    residual : In(signed(9))
        What is added to that result, `hw.residuals.READ_LATENCY` cycles later.
    activations : Out(stream of Activation), always ready
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "signed_output": In(1),
                "results": In(stream.Signature(Result(config), always_ready=True)),
                "record": In(ChannelRecord()),
                "residual": In(signed(9)),
                "activations": Out(stream.Signature(Activation(config), always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        sum_width = max(sum_bits(self._config), arithmetic.ACC_BITS) + 2
        product_bits = arithmetic.ACC_BITS + arithmetic.MULTIPLIER_BITS

        # 1 .. 4: the residual arrives, and is brought to the scale of the sum
        shortcut_delay = READ_LATENCY
        shortcut = Signal(signed(9 + arithmetic.MULTIPLIER_BITS))
        scaled = Signal(signed(9 + arithmetic.MULTIPLIER_BITS))
        m.d.sync += [
            shortcut.eq(
                self.residual * delayed(m, self.record.shortcut_multiplier, shortcut_delay)
            ),
            scaled.eq(
                round_shift(shortcut, delayed(m, self.record.shortcut_shift, shortcut_delay + 1))
            ),
        ]
        entry = shortcut_delay + 2
        # 5: bias, residual, saturation
        total = Signal(signed(sum_width))
        acc = Signal(signed(arithmetic.ACC_BITS))
        m.d.comb += total.eq(
            delayed(m, self.results.payload.sum, entry)
            + delayed(m, self.record.bias, entry)
            + scaled
        )
        m.d.sync += acc.eq(clamp(total, arithmetic.signed_range(arithmetic.ACC_BITS)))
        # 6, 7: multiplication, with a register to be absorbed by the multiplier
        product = Signal(signed(product_bits))
        multiplied = Signal(signed(product_bits))
        multiplier = delayed(m, self.record.multiplier, entry + 1)
        m.d.sync += [product.eq(acc * multiplier), multiplied.eq(product)]
        # 8: half of the last place that stays, then the shift's multiple of eight
        coarse = Signal(signed(product_bits))
        shift = delayed(m, self.record.shift, entry + 3)
        half = Signal(product_bits)
        m.d.comb += half.eq(1 << (shift - 1).as_unsigned()[: len(shift)])
        m.d.sync += coarse.eq((multiplied + half.as_signed()) >> (shift[_FINE_BITS:] << _FINE_BITS))
        # 9: the rest of the shift
        shifted = Signal(signed(product_bits))
        m.d.sync += shifted.eq(coarse >> delayed(m, shift[:_FINE_BITS], 1))
        # 10: clamp
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
            self.activations.valid.eq(delayed(m, self.results.valid, LATENCY)),
            payload.index.eq(delayed(m, self.results.payload.index, LATENCY)),
            payload.tag.eq(delayed(m, self.results.payload.tag, LATENCY)),
            payload.last.eq(delayed(m, self.results.payload.last, LATENCY)),
        ]
        return m
