"""The integer operations that software and hardware must agree on, to the bit.

`docs/reference/arithmetic.md` states them in words and formulas; this module is their one
definition. Every function works alike on Python integers, numpy arrays and torch tensors of a
signed 64-bit type, so that hardware tests can call it on single numbers and the golden model on
whole batches.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "ACC_BITS",
    "BIAS1_BITS",
    "HIDDEN_BITS",
    "MULTIPLIER_BITS",
    "PREDICTOR_SHIFT_MAX",
    "S8",
    "SCORE_BITS",
    "SHIFT_MAX",
    "SHIFT_MIN",
    "U8",
    "activation_range",
    "ceil_div",
    "half",
    "hidden",
    "requantise",
    "requantise_wide",
    "saturate",
    "signed_range",
    "split_scale",
    "threshold",
]

U8 = (0, 255)
"""Range of an activation after ReLU. Clamping to it *is* the ReLU."""
S8 = (-128, 127)
"""Range of a weight, of a network input and of a tensor that may be negative."""

ACC_BITS = 32
"""Width of a bias, and of an accumulator when it enters requantisation."""
MULTIPLIER_BITS = 16
"""Width of the unsigned requantisation multiplier (one FPGA multiplier takes 18 bits signed)."""
SHIFT_MIN, SHIFT_MAX = 1, 47
"""Range of the requantisation shift; 32 + 16 - 1 bits is the longest product."""

BIAS1_BITS = 20
"""Width of the predictor's layer-1 bias (signed)."""
HIDDEN_BITS = 8
"""Width of the predictor's hidden activations (unsigned)."""
PREDICTOR_SHIFT_MAX = 15
"""Largest shift of the predictor's layer 1; the smallest is 0."""
SCORE_BITS = 20
"""Width of a score and of its threshold (signed): 9 * 255 * 128 < 2**19."""


def ceil_div(dividend: Any, divisor: Any) -> Any:
    """dividend / divisor, rounded up."""
    return -(-dividend // divisor)


def signed_range(bits: int) -> tuple[int, int]:
    """Least and greatest two's complement number of that many bits."""
    return -(1 << bits - 1), (1 << bits - 1) - 1


def activation_range(signed: bool) -> tuple[int, int]:
    """Range of an 8-bit tensor: `S8` if it may be negative, else `U8`."""
    return S8 if signed else U8


def saturate(value: Any, limits: tuple[int, int]) -> Any:
    """The nearest number inside `limits`."""
    if isinstance(value, int):
        return min(max(value, limits[0]), limits[1])
    return value.clip(*limits)


def requantise_wide(acc: Any, multiplier: Any, shift: Any) -> Any:
    """acc * multiplier / 2**shift, rounded to nearest, halves upwards.

    acc is an ACC_BITS signed number, multiplier MULTIPLIER_BITS unsigned, shift 1 .. SHIFT_MAX; the
    intermediate needs ACC_BITS + MULTIPLIER_BITS bits. `>>` is arithmetic (rounds to -infinity).
    """
    return (acc * multiplier + half(shift)) >> shift


def requantise(acc: Any, multiplier: Any, shift: Any, limits: tuple[int, int]) -> Any:
    """Turn an exact sum into an 8-bit activation: saturate to ACC_BITS, scale, round, clamp."""
    acc = saturate(acc, signed_range(ACC_BITS))
    return saturate(requantise_wide(acc, multiplier, shift), limits)


def half(shift: Any) -> Any:
    """The number that is added before a shift, so that it rounds to nearest, halves up.

    It is 0 for a shift of 0, which does not round.
    """
    return (1 << shift) >> 1


def hidden(acc: Any, shift: Any) -> Any:
    """A hidden activation of the predictor: acc / 2**shift, halves up, clamped to 0 .. 255.

    It rounds as `requantise_wide` does with a multiplier of one.
    """
    return saturate((acc + half(shift)) >> shift, U8)


def split_scale(scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The (multiplier, shift) with multiplier / 2**shift nearest to each positive real scale.

    Returns int32 arrays. The multiplier has its top bit set unless the shift is at SHIFT_MAX.
    Raises ValueError where a scale is not finite, not positive, or too large to be represented.
    """
    scale = np.asarray(scale, dtype=np.float64)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError("a requantisation scale must be finite and positive")
    exponent = np.frexp(scale)[1]
    shift = np.clip(MULTIPLIER_BITS - exponent, None, SHIFT_MAX)
    multiplier = np.rint(np.ldexp(scale, shift))
    carried = multiplier >= 1 << MULTIPLIER_BITS
    shift = np.where(carried, shift - 1, shift)
    multiplier = np.where(carried, np.rint(np.ldexp(scale, shift)), multiplier)
    if (shift < SHIFT_MIN).any():
        raise ValueError(f"requantisation scale {scale.max()} is too large")
    return multiplier.astype(np.int32), shift.astype(np.int32)


def threshold(
    sigma: float | np.ndarray, score_scale: np.ndarray, score_offset: np.ndarray
) -> np.ndarray:
    """Integer thresholds t with (score > t) == (score * score_scale + score_offset > sigma).

    `sigma` is one number or one per channel; score_scale is positive. The strict real inequality
    becomes a strict integer one by rounding down. A threshold outside the range of a score
    saturates and keeps its meaning: keep no activation, or keep all. Returns int32, one per
    channel.
    """
    exact = np.floor((sigma - np.asarray(score_offset)) / np.asarray(score_scale))
    return np.clip(exact, *signed_range(SCORE_BITS)).astype(np.int32)
