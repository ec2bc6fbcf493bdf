"""Lowers one convolution: descriptor, packed ifm, record stream; and reads the ofm stream back.

A word of the ifm buffer holds V input channels of one pixel. Where a pixel has few channels, a word
holds a patch of `pack` neighbouring pixels instead, and one step of the kernel covers as many of
its taps: the array's lanes are then filled by kernel columns (and rows) in place of channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from golden.errors import UserError
from golden.layers import Conv, Pool, Predictor
from golden.pattern import FULL
from hw.config import Config
from hw.descriptor import RECORD_BYTES, ChannelRecord, LayerDescriptor, header_words

__all__ = ["Lowered", "lower"]


@dataclass(frozen=True)
class Lowered:
    """A convolution in the accelerator's terms.

    `fields` are those of `hw.descriptor.LayerDescriptor`; `records` is the record stream, uint8
    (c_o * words, V).
    """

    config: Config
    conv: Conv
    ifm_signed: bool
    pack: tuple[int, int]
    """Pixels (vertical, horizontal) of one ifm word; (1, 1) where channels fill it."""
    ofm_size: tuple[int, int]
    """(height, width) of the convolution's ofm."""
    pooled_size: tuple[int, int]
    """(height, width) of what leaves: the ofm, or its pooled map."""
    ifm_words: int
    """Words of the ifm buffer that the ifm takes, padding included."""
    fields: dict[str, Any]
    records: np.ndarray

    @property
    def descriptor(self) -> int:
        """The descriptor as one number."""
        layout = LayerDescriptor(self.config)
        return layout.const(self.fields).as_bits()

    def pack_ifm(self, ifm: Tensor) -> np.ndarray:
        """The words of the ifm buffer, uint8 (words, V), for one image (c_i, height, width)."""
        vertical, horizontal = self.conv.padding
        values = ifm.numpy().astype(np.uint8)
        padded = np.pad(values, ((0, 0), (vertical, vertical), (horizontal, horizontal)))
        pixels = padded.transpose(1, 2, 0)
        return _pack(pixels, self.pack, self.config.lanes).reshape(-1, self.config.lanes)

    def pack_residual(self, residual: Tensor) -> np.ndarray:
        """The residual stream, uint8 (groups * pixels, G), for one (channels, height, width)."""
        shortcut = self.conv.shortcut
        assert shortcut is not None
        step, first = shortcut.stride, shortcut.channel_offset
        picked = residual.numpy().astype(np.uint8)[:, ::step, ::step]
        group = self.config.group
        groups = -(-self.fields["channels"] // group)
        placed = np.zeros((groups * group, *self.ofm_size), np.uint8)
        placed[first : first + len(picked)] = picked
        return placed.reshape(groups, group, -1).transpose(0, 2, 1).reshape(-1, group)

    def unpack_ofm(self, words: np.ndarray) -> np.ndarray:
        """int32 (c_o, *pooled_size) from the ofm stream, uint8 (groups * pooled pixels, G)."""
        channels = self.fields["channels"]
        groups = words.reshape(-1, *self.pooled_size, self.config.group)
        values = groups.transpose(0, 3, 1, 2).reshape(-1, *self.pooled_size)[:channels]
        return (values.view(np.int8) if self.conv.signed_output else values).astype(np.int32)


def lower(
    config: Config,
    conv: Conv,
    ifm_shape: tuple[int, int, int],
    *,
    ifm_signed: bool,
    residual_signed: bool = False,
    predictor: Predictor | None = None,
    pool: Pool | None = None,
) -> Lowered:
    """Lower one convolution for an ifm of (c_i, height, width), with the pooling that follows it.

    Raises UserError where the layer needs more than `config` has, naming the layer and the field of
    the configuration to raise.
    """
    channels, height, width = ifm_shape
    kernel = conv.kernel
    ofm_h, ofm_w = conv.output_size(height, width)
    padded_h, padded_w = (
        size + 2 * pad for size, pad in zip((height, width), conv.padding, strict=True)
    )
    pack = _choose_pack(config.lanes, channels, kernel)
    words = -(-channels // config.lanes)
    rows, cols = (-(-k // p) for k, p in zip(kernel, pack, strict=True))
    if pack == (1, 1):
        inner_count, inner_step = cols * words, 1
    else:
        inner_count, inner_step = cols, pack[1]
    row_words = padded_w * words
    pattern = FULL if predictor is None else predictor.pattern
    fields: dict[str, Any] = {
        "height": ofm_h,
        "width": ofm_w,
        "pixels": ofm_h * ofm_w,
        "channels": conv.weight.shape[0],
        "row_step": conv.stride[0] * row_words,
        "col_step": conv.stride[1] * words,
        "inner_count": inner_count,
        "inner_step": inner_step,
        "outer_count": rows,
        "outer_step": pack[0] * row_words - (inner_count - 1) * inner_step,
        "kernel_words": inner_count * rows,
        "period": pattern.period,
        "pattern": pattern.repeated,
        "ifm_signed": int(ifm_signed),
        "ofm_signed": int(conv.signed_output),
        "zap": int(predictor is not None),
        "residual": int(conv.shortcut is not None),
        "residual_signed": int(residual_signed),
        "pool": _pool_fields(config, pool, ofm_h, ofm_w),
    }
    for name in ("row_step", "col_step", "inner_step", "outer_step"):
        fields[name] %= config.ifm_words
    demands = {
        "ifm_words": (padded_h * row_words, "words of ifm, padding included"),
        "weight_words": (fields["kernel_words"], "words of weights for one channel"),
        "ofm_words": (fields["pixels"], "pixels of ofm"),
        "most_channels": (fields["channels"], "output channels"),
    }
    if predictor is not None:
        demands["row_pixels"] = (ofm_w, "pixels in an ofm row with ZAP")
        if not config.predictor:
            raise UserError(
                f"layer {conv.name!r} has a predictor and configuration {config.name!r} has none"
            )
    for field, (need, what) in demands.items():
        have = getattr(config, field)
        if need > have:
            raise UserError(
                f"layer {conv.name!r} needs {need} {what}; "
                f"configuration {config.name!r} has {field} = {have}"
            )
    records = _records(config, conv, pack, predictor)
    pooled_size = fields["pool"]["height"], fields["pool"]["width"]
    return Lowered(
        config,
        conv,
        ifm_signed,
        pack,
        (ofm_h, ofm_w),
        pooled_size,
        padded_h * row_words,
        fields,
        records,
    )


def _pool_fields(config: Config, pool: Pool | None, height: int, width: int) -> dict[str, int]:
    """The descriptor's pooling of an ofm of that size; windows of one pixel where there is none."""
    window = pool or Pool(name="", kernel=(1, 1), stride=(1, 1))
    pooled_h, pooled_w = window.output_size(height, width)
    multiplier, shift = window.average or (0, 0)
    return {
        "pooled": int(pool is not None),
        "average": int(window.average is not None),
        "height": pooled_h,
        "width": pooled_w,
        "kernel_height": window.kernel[0],
        "kernel_width": window.kernel[1],
        "stride_height": window.stride[0],
        "stride_width": window.stride[1],
        "top": -window.padding[0],
        "left": -window.padding[1],
        "first_line": -window.padding[0] * width % config.ofm_words,
        "line_step": window.stride[0] * width % config.ofm_words,
        "multiplier": multiplier,
        "shift": shift,
    }


def _choose_pack(lanes: int, channels: int, kernel: tuple[int, int]) -> tuple[int, int]:
    """The patch (vertical, horizontal) that covers a kernel in the fewest steps."""
    fitting = lanes // channels
    candidates = [
        (v, h)
        for v in range(1, kernel[0] + 1)
        for h in range(1, kernel[1] + 1)
        if v * h <= max(fitting, 1)
    ]
    return min(candidates, key=lambda p: (-(-kernel[0] // p[0]) * -(-kernel[1] // p[1]), p))


def _pack(pixels: np.ndarray, pack: tuple[int, int], lanes: int) -> np.ndarray:
    """(h, w, c) to (h, w, words, V): each pixel's patch, pixels past the edge zero, row by row."""
    height, width, _ = pixels.shape
    vertical, horizontal = pack
    extended = np.pad(pixels, ((0, vertical - 1), (0, horizontal - 1), (0, 0)))
    patch = np.concatenate(
        [
            extended[v : v + height, h : h + width]
            for v in range(vertical)
            for h in range(horizontal)
        ],
        axis=2,
    )
    words = -(-patch.shape[2] // lanes)
    patch = np.pad(patch, ((0, 0), (0, 0), (0, words * lanes - patch.shape[2])))
    return patch.reshape(height, width, words, lanes)


def _records(
    config: Config, conv: Conv, pack: tuple[int, int], predictor: Predictor | None
) -> np.ndarray:
    """The record stream, uint8 (words, V)."""
    weight = conv.weight.numpy().view(np.uint8)
    rows, cols = conv.kernel
    stream = []
    for channel, kernel in enumerate(weight):
        fields: dict[str, Any] = {
            "bias": int(conv.bias[channel]),
            "multiplier": int(conv.multiplier[channel]),
            "shift": int(conv.shift[channel]),
        }
        if conv.shortcut is not None:
            fields["shortcut_multiplier"] = int(conv.shortcut.multiplier[channel])
            fields["shortcut_shift"] = int(conv.shortcut.shift[channel])
        if predictor is not None:
            fields["predictor"] = {
                "weight1": predictor.weight1[channel].flatten().tolist(),
                "bias1": int(predictor.bias1[channel]),
                "shift1": int(predictor.shift1[channel]),
                "weight2": predictor.weight2[channel].flatten().tolist(),
                "threshold": int(predictor.threshold[channel]),
            }
        record = ChannelRecord().const(fields).as_bits().to_bytes(RECORD_BYTES, "little")
        header = np.frombuffer(record.ljust(header_words(config) * config.lanes, b"\0"), np.uint8)
        # The kernel is packed as an ifm of its own size; its steps are the patches' corners.
        taps = kernel.transpose(1, 2, 0)
        packed = _pack(taps, pack, config.lanes)[: rows : pack[0], : cols : pack[1]]
        stream += [header.reshape(-1, config.lanes), packed.reshape(-1, config.lanes)]
    return np.concatenate(stream)
