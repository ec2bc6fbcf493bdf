"""The golden layers against a slow and obvious reference: Python integers, one pixel at a time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from golden import layers
from golden.arithmetic import activation_range
from golden.bundle import Bundle
from golden.layers import Conv, Pool, Predictor, Shortcut
from golden.network import quantise_images
from golden.pattern import MASKS, Pattern
from tests.quant.tiny_networks import SHAPE, images, tiny_bundle, tiny_module

Array = np.ndarray


def rescale(acc: int, multiplier: int, shift: int) -> int:
    return (acc * multiplier + 2 ** (shift - 1)) // 2**shift


def clamp(value: int, low: int, high: int) -> int:
    return max(low, min(high, value))


def at(image: Array, c: int, y: int, x: int) -> int:
    """A pixel, zero outside the map."""
    inside = 0 <= y < image.shape[1] and 0 <= x < image.shape[2]
    return int(image[c, y, x]) if inside else 0


def reference_conv(layer: Conv, ifm: Array, residual: Array | None) -> Array:
    """The dense ofm of one image."""
    c_o, c_i, k_h, k_w = layer.weight.shape
    ofm = np.zeros((c_o, *layer.output_size(*ifm.shape[1:])), dtype=np.int64)
    for z, y, x in np.ndindex(*ofm.shape):
        acc = int(layer.bias[z])
        first = z // (c_o // layer.groups) * c_i
        for c, i, j in np.ndindex(c_i, k_h, k_w):
            row = y * layer.stride[0] + i - layer.padding[0]
            col = x * layer.stride[1] + j - layer.padding[2]
            acc += at(ifm, first + c, row, col) * int(layer.weight[z, c, i, j])
        shortcut = layer.shortcut
        if shortcut is not None and residual is not None:
            channel = z - shortcut.channel_offset
            if 0 <= channel < residual.shape[0]:
                value = int(residual[channel, y * shortcut.stride, x * shortcut.stride])
                acc += rescale(value, int(shortcut.multiplier[z]), int(shortcut.shift[z]))
        acc = clamp(acc, -(2**31), 2**31 - 1)
        limits = (-128, 127) if layer.signed_output else (0, 255)
        ofm[z, y, x] = clamp(rescale(acc, int(layer.multiplier[z]), int(layer.shift[z])), *limits)
    return ofm


def reference_depthwise(image: Array, weight: Array, c: int, y: int, x: int) -> int:
    taps = itertools.product(range(3), range(3))
    return sum(at(image, c, y + i - 1, x + j - 1) * int(weight[c, i, j]) for i, j in taps)


def reference_scores(predictor: Predictor, partial: Array) -> Array:
    hidden = np.zeros_like(partial)
    for c, y, x in np.ndindex(*partial.shape):
        acc = reference_depthwise(partial, predictor.weight1.numpy(), c, y, x)
        acc += int(predictor.bias1[c])
        shift = int(predictor.shift1[c])
        hidden[c, y, x] = clamp((acc + (2**shift) // 2) // 2**shift, 0, 255)
    scores = np.zeros_like(partial)
    for c, y, x in np.ndindex(*partial.shape):
        scores[c, y, x] = reference_depthwise(hidden, predictor.weight2.numpy(), c, y, x)
    return scores


def int8(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    """Weights: anything, or nothing but the extremes."""
    if rng.random() < 0.3:
        return torch.from_numpy(rng.choice([-128, 127], shape).astype(np.int8))
    return torch.from_numpy(rng.integers(-128, 128, shape).astype(np.int8))


def int32(rng: np.random.Generator, low: int, high: int, *shape: int) -> torch.Tensor:
    """Numbers of low .. high, both included."""
    return torch.from_numpy(rng.integers(low, high + 1, shape).astype(np.int32))


def random_case(rng: np.random.Generator) -> tuple[Conv, torch.Tensor, torch.Tensor | None]:
    """A layer, two ifms and, for some, their residuals."""
    while True:
        kernel = rng.integers(1, 8, 2)
        stride = rng.integers(1, 3, 2)
        sides = [int(rng.integers(0, 2 * k + 1)) for k in np.repeat(kernel, 2)]
        padding = sides[0], sides[1], sides[2], sides[3]
        height, width = (int(size) for size in rng.integers(1, 9, 2))
        c_i, c_o = (int(channels) for channels in rng.integers(1, 5, 2))
        groups = int(rng.integers(2, 5)) if rng.random() < 0.3 else 1
        c_o *= groups
        if height + sum(padding[:2]) >= kernel[0] and width + sum(padding[2:]) >= kernel[1]:
            break
    signed = bool(rng.random() < 0.3)
    bias = int32(rng, -(2**12), 2**12, c_o)
    if rng.random() < 0.3:
        bias = torch.from_numpy(rng.choice([-(2**31), 2**31 - 1], c_o).astype(np.int32))
    shortcut, residual = None, None
    layer = Conv(
        name="layer",
        weight=int8(rng, c_o, c_i, *(int(k) for k in kernel)),
        bias=bias,
        multiplier=int32(rng, 0, 2**16 - 1, c_o),
        shift=int32(rng, 1, 47, c_o) if rng.random() < 0.3 else int32(rng, 20, 28, c_o),
        stride=(int(stride[0]), int(stride[1])),
        padding=padding,
        groups=groups,
        signed_output=bool(rng.random() < 0.3),
    )
    if rng.random() < 0.5:
        step = int(rng.integers(1, 3))
        channels = int(rng.integers(1, c_o + 1))
        shortcut = Shortcut(
            multiplier=int32(rng, 0, 2**16 - 1, c_o),
            shift=int32(rng, 1, 20, c_o),
            stride=step,
            channel_offset=int(rng.integers(0, c_o - channels + 1)),
        )
        size = [(length - 1) * step + 1 for length in layer.output_size(height, width)]
        residual = int32(rng, -128, 255, 2, channels, *size)
        layer = Conv(**{**vars(layer), "shortcut": shortcut})
    low, high = (-128, 127) if signed else (0, 255)
    return layer, int32(rng, low, high, 2, groups * c_i, height, width), residual


def random_predictor(rng: np.random.Generator, channels: int) -> Predictor:
    period = int(rng.integers(1, 9))
    return Predictor(
        pattern=Pattern(period, int(rng.integers(1, 2**period))),
        weight1=int8(rng, channels, 3, 3),
        bias1=int32(rng, -(2**19), 2**19 - 1, channels)
        if rng.random() < 0.3
        else int32(rng, -5000, 5000, channels),
        shift1=int32(rng, 0, 15, channels),
        weight2=int8(rng, channels, 3, 3),
        threshold=int32(rng, -20_000, 20_000, channels),
    )


@pytest.mark.parametrize("seed", range(60))
def test_convolution_equals_the_reference(seed: int) -> None:
    layer, ifm, residual = random_case(np.random.default_rng(seed))
    result = layers.conv(layer, ifm, residual=residual)
    for image in range(len(ifm)):
        mate = None if residual is None else residual[image].numpy()
        expected = reference_conv(layer, ifm[image].numpy(), mate)
        np.testing.assert_array_equal(result.ofm[image].numpy(), expected)
    assert result.ofm.dtype == torch.int32
    assert result.counters.total == result.counters.computed == result.ofm.numel()


@pytest.mark.parametrize("seed", range(40))
def test_predictor_equals_the_reference(seed: int) -> None:
    rng = np.random.default_rng(1000 + seed)
    layer, ifm, residual = random_case(rng)
    layer = Conv(**{**vars(layer), "signed_output": False})
    predictor = random_predictor(rng, layer.weight.shape[0])
    result = layers.conv(layer, ifm, predictor, residual)
    assert result.scores is not None
    skipped = 0
    for image in range(len(ifm)):
        mate = None if residual is None else residual[image].numpy()
        dense = reference_conv(layer, ifm[image].numpy(), mate)
        keep = np.zeros(dense.shape, dtype=bool)
        for c, y, x in np.ndindex(*dense.shape):
            keep[c, y, x] = predictor.pattern.computes(y, x)
        partial = np.where(keep, dense, 0)
        scores = reference_scores(predictor, partial)
        keep |= scores > predictor.threshold.numpy()[:, None, None]
        np.testing.assert_array_equal(result.partial[image].numpy(), partial)
        np.testing.assert_array_equal(result.scores[image].numpy(), scores)
        np.testing.assert_array_equal(result.keep[image].numpy(), keep)
        np.testing.assert_array_equal(result.ofm[image].numpy(), np.where(keep, dense, 0))
        skipped += int((~keep).sum())
    assert result.counters.skipped == skipped
    assert result.counters.total == result.ofm.numel()
    assert result.counters.kept + skipped == result.counters.predicted


@pytest.mark.parametrize(("threshold", "kept"), [(-(2**19), True), (2**19 - 1, False)])
def test_extreme_thresholds_keep_or_skip_everything(threshold: int, kept: bool) -> None:
    rng = np.random.default_rng(5)
    layer, ifm, residual = random_case(rng)
    predictor = random_predictor(rng, layer.weight.shape[0])
    everywhere = torch.full_like(predictor.threshold, threshold)
    predictor = Predictor(**{**vars(predictor), "pattern": MASKS["B"], "threshold": everywhere})
    counters = layers.conv(layer, ifm, predictor, residual).counters
    assert (counters.skipped == 0) == kept
    assert (counters.kept == 0) != kept or counters.predicted == 0


def covering_sums(weight: torch.Tensor, ifm: torch.Tensor) -> torch.Tensor:
    """int64 (images, c_o) of kernels that cover the whole map."""
    return torch.einsum("nchw,ochw->no", ifm.long(), weight.long())


@pytest.mark.parametrize("channels", [10, 11, 12, 64])
def test_sums_around_the_float32_limit_are_exact(channels: int) -> None:
    """10 channels of 7x7 extreme weights stay below 2**24, 11 pass it, 64 are far beyond it."""
    rng = np.random.default_rng(channels)
    weight = torch.full((4, channels, 7, 7), -128, dtype=torch.int8)
    weight[1] = 127
    weight[2, :, :, ::2] = 127
    weight[3] = torch.from_numpy(rng.integers(-128, 128, (channels, 7, 7)).astype(np.int8))
    ifm = torch.full((3, channels, 7, 7), 255, dtype=torch.int32)
    ifm[1] = int32(rng, 0, 255, channels, 7, 7)
    ifm[2] = int32(rng, 253, 255, channels, 7, 7)
    zero, one = torch.zeros(4, dtype=torch.int32), torch.ones(4, dtype=torch.int32)
    layer = Conv(name="layer", weight=weight, bias=zero, multiplier=one, shift=one)
    sums = layers.exact_sums(layer, ifm).flatten(1)
    assert torch.equal(sums, covering_sums(weight, ifm))


def test_columns_are_convolved_in_batches() -> None:
    """In PyTorch's other memory order these maps, one pixel wide, lead out of bounds."""
    rng = np.random.default_rng(3)
    layer = Conv(
        name="layer",
        weight=int32(rng, -128, 127, 9, 16, 2, 1).to(torch.int8),
        bias=torch.zeros(9, dtype=torch.int32),
        multiplier=torch.ones(9, dtype=torch.int32),
        shift=torch.ones(9, dtype=torch.int32),
        stride=(4, 1),
        padding=(1, 1, 0, 0),
    )
    ifm = int32(rng, 0, 255, 3, 16, 1351, 1)
    for _ in range(30):
        sums = layers.exact_sums(layer, ifm)
    alone = [layers.exact_sums(layer, image[None]) for image in ifm]
    assert torch.equal(sums, torch.cat(alone))


def test_saturated_accumulators() -> None:
    """A bias at the limit of 32 bits and a sum that exceeds them saturate, and do not wrap."""
    weight = torch.tensor([127, 127, -128, -128], dtype=torch.int8).view(4, 1, 1, 1)
    rim = [2**31 - 1, -(2**31), 2**31 - 1, -(2**31)]
    layer = Conv(
        name="layer",
        weight=weight,
        bias=torch.tensor(rim, dtype=torch.int32),
        multiplier=torch.full((4,), 2**15, dtype=torch.int32),
        shift=torch.full((4,), 40, dtype=torch.int32),
        signed_output=True,
    )
    ofm = layers.conv(layer, torch.full((1, 1, 1, 1), 255, dtype=torch.int32)).ofm
    assert ofm.flatten().tolist() == [64, -64, 64, -64]


@pytest.mark.parametrize("seed", range(30))
def test_pooling_equals_the_reference(seed: int) -> None:
    rng = np.random.default_rng(2000 + seed)
    kernel, stride = (tuple(int(n) for n in rng.integers(1, 4, 2)) for _ in range(2))
    top, bottom, left, right = (int(rng.integers(0, k)) for k in np.repeat(kernel, 2))
    average = None if seed % 2 else (int(rng.integers(1, 2**16)), int(rng.integers(16, 20)))
    layer = Pool(
        name="pool",
        kernel=(kernel[0], kernel[1]),
        stride=(stride[0], stride[1]),
        padding=(top, bottom, left, right),
        average=average,
        signed=seed % 3 == 0,
    )
    limits = (-128, 127) if layer.signed else (0, 255)
    ifm = int32(rng, *limits, 2, 3, 7, 6)
    ofm = layers.pool(layer, ifm).numpy()
    for n, c, y, x in np.ndindex(*ofm.shape):
        rows = range(y * stride[0] - top, y * stride[0] - top + kernel[0])
        cols = range(x * stride[1] - left, x * stride[1] - left + kernel[1])
        inside = [(i, j) for i in rows for j in cols if 0 <= i < 7 and 0 <= j < 6]
        window = [int(ifm[n, c, i, j]) for i, j in inside]
        if average is None:
            assert ofm[n, c, y, x] == max(window)
        else:
            assert ofm[n, c, y, x] == clamp(rescale(sum(window), *average), *limits)


def test_groups_whose_sums_float32_cannot_hold_are_exact() -> None:
    """255 * 128 * 23 * 23 is above 2**24, and 2**24 + 1 has no float32."""
    weight = torch.full((4, 1, 23, 23), -128, dtype=torch.int8)
    weight[:, :, 0, 0] = 127
    layer = Conv(
        name="layer",
        weight=weight,
        bias=torch.full((4,), (1 << 24) + 2**20, dtype=torch.int32),
        multiplier=torch.full((4,), 1, dtype=torch.int32),
        shift=torch.full((4,), 13, dtype=torch.int32),
        groups=4,
    )
    ifm = int32(np.random.default_rng(1), 250, 255, 1, 4, 23, 24)
    expected = reference_conv(layer, ifm[0].numpy(), None)
    np.testing.assert_array_equal(layers.conv(layer, ifm).ofm[0].numpy(), expected)


@pytest.mark.parametrize("scale", [1e-12, 1e-300, 1e12])
@pytest.mark.parametrize("signed", [False, True])
def test_an_image_saturates_at_any_scale(scale: float, signed: bool) -> None:
    """A level that no integer holds is white or black still."""
    bundle = tiny_bundle(tiny_module(), images(8))[1]
    tensor = bundle.manifest.input.tensor
    activation = bundle.manifest.activations[tensor]
    fine = activation.model_copy(update={"scale": scale, "signed": signed})
    manifest = bundle.manifest.model_copy(
        update={"activations": bundle.manifest.activations | {tensor: fine}}
    )
    pixels = torch.stack([torch.zeros(SHAPE), torch.ones(SHAPE)])
    black, white = quantise_images(Bundle(manifest, bundle.tensors), pixels)
    low, high = activation_range(signed) if scale < 1 else (0, 0)
    assert (black == low).all()
    assert (white == high).all()
