"""BatchNorm recalibration of an integer network for the activations that its ZAPs skip.

Predicted zeros shift the statistics of every later layer. The paper's authors estimate the running
mean and variance of each BatchNorm again with the ZAPs active. Here BN is folded into the
convolutions, so the same change is made to a convolution's sums. Let m and s be the mean and
standard deviation of a channel's sums before any residual, with index 0 without ZAPs and 1 with
them. Then

    sum' = (sum - m1) * s0 / s1 + m0

which is another bias and another scale, so the same hardware runs it. Both are measured on the same
images. A network without ZAPs therefore stays exactly as it is, whatever the images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from golden import arithmetic
from golden.bundle import Bundle
from golden.layers import Conv, Predictor, conv, exact_sums, pool
from golden.manifest import ConcatNode, ConvNode, PoolNode, ReshapeNode
from golden.network import quantise_images
from golden.node_walk import NodeWalk
from quant.data.images import ImageSet
from quant.native.layers import NativeConv, as_map
from quant.native.network import checked_kernels
from quant.runtime.batch_size import batch_size
from quant.runtime.progress import progress

__all__ = ["recalibrate"]

Maps = list[Tensor]
"""The activations of many images in one tensor of the network: batches of int8 or uint8."""

_LARGEST_GAIN = 4.0
"""A channel that nearly vanished is scaled up by at most this."""
_LARGEST_BIAS = 2.0 ** (arithmetic.ACC_BITS - 2)


def recalibrate(bundle: Bundle, predictors: Mapping[str, Predictor], image_set: ImageSet) -> Bundle:
    """Return the bundle with its convolutions recalibrated for running with these predictors.

    Fully connected layers stay as they are. Layers are recalibrated in order, each on the ofms that
    the already recalibrated layers before it now have. Two maps of every image are held in memory,
    in 8 bits for each activation: one without ZAPs and one with them.
    """
    manifest = bundle.manifest
    tensors = dict(bundle.tensors)
    result = Bundle(manifest, tensors)
    size = batch_size(bundle)
    batches = (quantise_images(bundle, pixels) for pixels, _ in image_set.batches(size))
    images = _narrow(batches, manifest.activations[manifest.input.tensor].signed)
    walk = NodeWalk(manifest.layers, {manifest.input.tensor: (images, images)}, manifest.output)
    for node, operands in progress(walk, len(manifest.layers), "recalibrating"):
        without_zaps: Callable[..., Tensor]
        with_zaps: Callable[..., Tensor]
        if isinstance(node, ConcatNode):
            without_zaps = with_zaps = _concat
        elif isinstance(node, PoolNode):
            without_zaps = with_zaps = partial(pool, bundle.pool(node))
        elif isinstance(node, ReshapeNode):
            map_size = manifest.activations[node.output].shape[1:]
            without_zaps = with_zaps = partial(_reshape, map_size)
        else:
            layer = bundle.conv(node)
            dense = _Convolution(bundle, node, layer, None)
            if not node.fully_connected:
                moments = (_moments(layer, map(dense.sums, maps)) for maps in operands[0])
                fields = _recalibrated(layer, *moments)
                tensors |= {f"layers.{node.name}.{field}": fields[field] for field in fields}
            without_zaps = dense
            with_zaps = _Convolution(bundle, node, result.conv(node), predictors.get(node.name))
        before, after = zip(*operands)
        signed = manifest.activations[node.output].signed
        walk.store((_run(without_zaps, before, signed), _run(with_zaps, after, signed)))
    return result


def _run(operation: Callable[..., Tensor], operands: Iterable[Maps], signed: bool) -> Maps:
    """Compute a node's output, a batch at a time."""
    return _narrow((operation(*batch) for batch in zip(*operands, strict=True)), signed)


def _narrow(batches: Iterable[Tensor], signed: bool) -> Maps:
    """Store batches of a map in 8 bits for each activation."""
    return [as_map(batch, signed) for batch in batches]


def _concat(*parts: Tensor) -> Tensor:
    return torch.cat(parts, 1)


def _reshape(size: tuple[int, ...], ifm: Tensor) -> Tensor:
    return ifm.reshape(*ifm.shape[:2], *size)


class _Convolution:
    """A convolution in compiled code where that is exact, else as golden runs it."""

    def __init__(
        self, bundle: Bundle, node: ConvNode, layer: Conv, predictor: Predictor | None
    ) -> None:
        self._layer = layer
        self._predictor = predictor
        self._native: NativeConv | None = None
        if (kernels := checked_kernels()) is not None:
            ifm = bundle.manifest.activations[node.input]
            self._native = NativeConv(kernels, layer, ifm.shape, ifm.signed, predictor)

    def __call__(self, ifm: Tensor, residual: Tensor | None = None) -> Tensor:
        """Return the ofm of 8-bit maps."""
        if self._native is not None:
            return self._native(ifm, residual)[0]
        wide = None if residual is None else residual.to(torch.int32)
        return conv(self._layer, ifm.to(torch.int32), self._predictor, wide).ofm

    def sums(self, ifm: Tensor) -> Tensor:
        """Return the sums of 8-bit maps, without bias and residual."""
        if self._native is not None:
            return self._native.sums(ifm)
        return exact_sums(self._layer, ifm) - self._layer.bias.view(-1, 1, 1)


def _moments(layer: Conv, batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return deviation and mean of each channel's sums without residual, float64 (c_o,).

    `batches` are the sums without bias, (images, c_o, height, width).
    """
    count = 0
    mean, squares = torch.zeros(2, len(layer.bias), dtype=torch.float64)
    for sums in batches:
        values = sums.transpose(0, 1).flatten(1).double()
        variance, middle = torch.var_mean(values, 1, correction=0)
        # Deviations from the mean of all so far (Chan, Golub and LeVeque 1983).
        size = values.shape[1]
        apart = middle - mean
        squares += variance * size + apart.square() * (count * size / (count + size))
        count += size
        mean += apart * (size / count)
    return (squares / count).sqrt(), mean + layer.bias


def _recalibrated(
    layer: Conv, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]
) -> dict[str, Tensor]:
    """Return the tensors that change, by the last part of their name in a bundle."""
    (s0, m0), (s1, m1) = before, after
    gain = torch.where((s0 > 0) & (s1 > 0), s0 / s1, 1).clip(1 / _LARGEST_GAIN, _LARGEST_GAIN)
    bias = (layer.bias + m0 / gain - m1).round().clip(-_LARGEST_BIAS, _LARGEST_BIAS)
    fields = {"bias": bias.to(torch.int32)}
    fields |= _scaled("", layer.multiplier, layer.shift, gain.numpy())
    if layer.shortcut is not None:
        shortcut = layer.shortcut
        fields |= _scaled("shortcut_", shortcut.multiplier, shortcut.shift, 1 / gain.numpy())
    return fields


def _scaled(
    prefix: str, multiplier: Tensor, shift: Tensor, factor: np.ndarray
) -> dict[str, Tensor]:
    """Multiply a requantisation by a real factor for each channel."""
    scale = np.ldexp(multiplier.double().numpy(), -shift.numpy()) * factor
    numbers = zip(("multiplier", "shift"), arithmetic.split_scale(scale))
    return {f"{prefix}{name}": torch.from_numpy(values) for name, values in numbers}
