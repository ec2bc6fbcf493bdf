"""Packs channels' records and weights into the record stream of `hw.contract.records`."""

from __future__ import annotations

import numpy as np

from compiler.lowering.patches import Patch, pack_patches
from compiler.lowering.slices import Slices, expanded
from golden import arithmetic
from golden.layers import Conv, Predictor
from hw.contract.config import Config
from hw.contract.records import RECORD_BYTES, RecordField, record_fields, record_words

__all__ = ["pack_records", "record_stream"]


def record_stream(
    config: Config, conv: Conv, slices: Slices, patch: Patch, predictor: Predictor | None
) -> np.ndarray:
    """The record stream of a convolution, uint8 (c_o * words, V)."""
    channels = len(conv.weight)
    records = pack_records(conv, predictor)
    missing = record_words(config) * config.lanes - RECORD_BYTES
    records = np.pad(records, ((0, 0), (0, missing))).reshape(channels, -1, config.lanes)
    # A kernel is packed as an ifm of its own size; its steps are the corners of the patches.
    rows, cols = conv.kernel
    taps = expanded(conv, slices).numpy().view(np.uint8).transpose(0, 2, 3, 1)
    weights = pack_patches(taps, patch, config.lanes)[:, : rows : patch[0], : cols : patch[1]]
    weights = weights.reshape(channels, -1, config.lanes)
    return np.concatenate([records, weights], axis=1).reshape(-1, config.lanes)


def pack_records(conv: Conv, predictor: Predictor | None) -> np.ndarray:
    """The records of a convolution's channels, uint8 (c_o, RECORD_BYTES)."""
    values = {
        "requantiser.bias": conv.bias.numpy(),
        "requantiser.multiplier": conv.multiplier.numpy(),
        "requantiser.shift": conv.shift.numpy(),
    }
    if conv.shortcut is not None:
        values["requantiser.shortcut_multiplier"] = conv.shortcut.multiplier.numpy()
        values["requantiser.shortcut_shift"] = conv.shortcut.shift.numpy()
    if predictor is not None:
        shift1 = predictor.shift1.numpy()
        values["predictor.weight1"] = predictor.weight1.numpy()
        values["predictor.offset1"] = predictor.bias1.numpy() + arithmetic.half(shift1)
        values["predictor.shift1"] = shift1
        values["predictor.weight2"] = predictor.weight2.numpy()
        values["predictor.threshold"] = predictor.threshold.numpy()
    channels = len(conv.weight)
    bits = [
        _bits(values.pop(name, np.zeros((channels, field.count), np.int64)), field)
        for name, field in record_fields()
    ]
    assert not values
    packed = np.packbits(np.concatenate(bits, axis=1), axis=1, bitorder="little")
    return np.pad(packed, ((0, 0), (0, RECORD_BYTES - packed.shape[1])))


def _bits(values: np.ndarray, field: RecordField) -> np.ndarray:
    """The bits of a field for each channel, the lowest first: uint8 (channels, bits * count)."""
    numbers = values.reshape(len(values), field.count).astype("<i8")
    low, high = arithmetic.signed_range(field.bits) if field.signed else (0, (1 << field.bits) - 1)
    assert numbers.min() >= low
    assert numbers.max() <= high
    bits = np.unpackbits(numbers[..., None].view(np.uint8), axis=2, bitorder="little")
    return bits[..., : field.bits].reshape(len(values), -1)
