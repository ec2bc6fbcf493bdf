"""The layouts that a layer's program is written in: descriptor, channel record, counters.

The engine reads these structures and the compiler fills them in; this file is the only place where
their fields and widths stand.
"""

from __future__ import annotations

from amaranth.hdl import signed, unsigned
from amaranth.lib import data
from amaranth.utils import bits_for, ceil_log2

from golden import arithmetic
from golden.pattern import MAX_PERIOD
from hw.contract.config import Config

__all__ = [
    "COUNTERS",
    "COUNTER_BITS",
    "RECORD_BYTES",
    "ChannelRecord",
    "CounterBlock",
    "LayerDescriptor",
    "PoolDescriptor",
    "PredictorRecord",
    "RequantiserRecord",
    "header_words",
]


class PoolDescriptor(data.StructLayout):
    """How an ofm is pooled as it leaves.

    Without pooling (`pooled` is 0) the windows are single pixels. `height` and `width` are those of
    the pooled map; the first window begins at (`top`, `left`), in line `first_line`, which is
    `top * ofm width` modulo the size of a bank; the next row of windows is `line_step` further.
    """

    def __init__(self, config: Config) -> None:
        pixels = bits_for(config.ofm_words)
        index = ceil_log2(config.ofm_words)
        super().__init__(
            {
                "pooled": 1,
                "average": 1,
                "height": pixels,
                "width": pixels,
                "kernel_height": pixels,
                "kernel_width": pixels,
                "stride_height": pixels,
                "stride_width": pixels,
                "top": signed(pixels + 1),
                "left": signed(pixels + 1),
                "first_line": index,
                "line_step": index,
                "multiplier": unsigned(arithmetic.MULTIPLIER_BITS),
                "shift": unsigned(bits_for(arithmetic.SHIFT_MAX)),
            }
        )


class LayerDescriptor(data.StructLayout):
    """One convolution, or a strip of its rows, in the terms of the engine's address generators.

    The ifm lies in its buffer with its padding written out. The word read for step i of an ofm
    pixel at (row, col) is at `base + row * row_step + col * col_step` plus an offset that runs
    through `outer_count` kernel rows of `inner_count` steps: `inner_step` apart, and `outer_step`
    from the last word of one row to the first of the next. `kernel_words` is their product, the
    words of one channel's weights. Addresses wrap at the size of the buffer, so a step back is a
    step of its complement.

    `height` and `width` are those of the strip's region: the rows that an ofm bank holds, `pixels`
    in all. The rows above `first_row`, `restored` pixels, were computed by the strip above; the
    address and pattern residue of (first_row, 0) are `first_base` and `first_residue`. The last
    `spilled` pixels leave once more, for the strip below. `I_t` is decided in the rows from
    `scored_row` up to, but not including, `scored_end`. A whole map is a strip whose region is all
    that it has: nothing restored, nothing spilled, every row scored.

    `pattern` is the computation pattern's bits, from that of the region's first position on,
    repeated to twice the longest period, so that the bits after any residue can be read off without
    a modulus (`Pattern.repeated`).
    """

    def __init__(self, config: Config) -> None:
        pixels = bits_for(config.ofm_words)
        address = ceil_log2(config.ifm_words)
        words = bits_for(config.weight_words)
        super().__init__(
            {
                "height": pixels,
                "width": pixels,
                "pixels": pixels,
                "first_row": pixels,
                "restored": pixels,
                "spilled": pixels,
                "scored_row": pixels,
                "scored_end": pixels,
                "channels": bits_for(config.most_channels),
                "base": address,
                "first_base": address,
                "row_step": address,
                "col_step": address,
                "inner_count": words,
                "inner_step": address,
                "outer_count": words,
                "outer_step": address,
                "kernel_words": words,
                "period": bits_for(MAX_PERIOD),
                "pattern": 2 * MAX_PERIOD,
                "first_residue": range(MAX_PERIOD),
                "ifm_signed": 1,
                "ofm_signed": 1,
                "zap": 1,
                "residual": 1,
                "residual_signed": 1,
                "pool": PoolDescriptor(config),
            }
        )


class PredictorRecord(data.StructLayout):
    """One channel of a ZAP; see `golden.layers.Predictor`. Kernels are row-major.

    `offset1` is `bias1` and the half that makes layer 1's shift round, in one.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "weight1": data.ArrayLayout(signed(8), 9),
                "offset1": signed(arithmetic.BIAS1_BITS + 1),
                "shift1": unsigned(bits_for(arithmetic.PREDICTOR_SHIFT_MAX)),
                "weight2": data.ArrayLayout(signed(8), 9),
                "threshold": signed(arithmetic.SCORE_BITS),
            }
        )


RECORD_BYTES = 40
"""Bytes before each channel's weights in the record stream; a `ChannelRecord`, zero-extended."""


class RequantiserRecord(data.StructLayout):
    """One channel's way from sums to activations; see `golden.layers.Conv`."""

    def __init__(self) -> None:
        super().__init__(
            {
                "bias": signed(arithmetic.ACC_BITS),
                "multiplier": unsigned(arithmetic.MULTIPLIER_BITS),
                "shift": unsigned(bits_for(arithmetic.SHIFT_MAX)),
                "shortcut_multiplier": unsigned(arithmetic.MULTIPLIER_BITS),
                "shortcut_shift": unsigned(bits_for(arithmetic.SHIFT_MAX)),
            }
        )


class ChannelRecord(data.StructLayout):
    """What one output channel needs besides its weights."""

    def __init__(self) -> None:
        super().__init__({"requantiser": RequantiserRecord(), "predictor": PredictorRecord()})
        assert self.size <= 8 * RECORD_BYTES


def header_words(config: Config) -> int:
    """Words of the record stream before each channel's weights."""
    return -(-RECORD_BYTES // config.lanes)


COUNTER_BITS = 40
"""Width of a performance counter: three hours at 100 MHz."""

COUNTERS = {
    "cycles": "from start to the last ofm word's departure",
    "busy": "cycles in which the array multiplied",
    "wait_loads": "array idle, its next channel's record or residual not loaded yet",
    "wait_ofm": "array idle, both ofm banks taken: one still leaves",
    "wait_predictor": "array idle, all it could do depends on scores not known yet",
    "computed": "activations of I_s",
    "kept": "activations of I_t whose score exceeded the threshold",
    "skipped": "activations of I_t predicted zero",
}
"""The performance counters and what they count; the rest of `cycles` is fill and drain."""


class CounterBlock(data.StructLayout):
    """All performance counters of a layer."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(COUNTERS, COUNTER_BITS))
