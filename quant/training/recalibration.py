"""BatchNorm recalibration of an integer network for what its ZAPs remove.

Predicted zeros shift the statistics of every later layer. The paper's authors estimate the running
mean and variance of each BatchNorm again with the ZAPs active. Here BN is folded, and what that
amounts to is done to the sums that it was folded into: channel by channel, with m and s the mean
and standard deviation of the sums before any residual, 0 without and 1 with ZAPs,

    sum' = (sum - m1) * s0 / s1 + m0

which is another bias and another scale, so the same hardware runs it. As both are measured on the
same images, a network without ZAPs stays exactly as it is, whatever the images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from golden import arithmetic
from golden.bundle import Bundle
from golden.layers import Conv, Predictor, conv, pool
from golden.manifest import ConcatNode, Manifest, Node, PoolNode
from golden.network import dead, quantise_images
from quant.data.images import ImageSet
from quant.runtime.batch_size import batch_size
from quant.runtime.progress import progress

__all__ = ["recalibrate"]

_LARGEST_GAIN = 4.0
"""A channel that nearly vanished is not brought back by more."""
_LARGEST_BIAS = 2.0 ** (arithmetic.ACC_BITS - 2)


def recalibrate(bundle: Bundle, predictors: Mapping[str, Predictor], image_set: ImageSet) -> Bundle:
    """The bundle with its convolutions recalibrated for running with these predictors.

    Fully connected layers stay as they are. Layers are recalibrated in order, each on what the ones
    before it now make of the images of `image_set`, so two maps of every image are held in memory.
    """
    manifest = bundle.manifest
    tensors = dict(bundle.tensors)
    result = Bundle(manifest, tensors)
    size = batch_size(bundle)
    images = [quantise_images(bundle, pixels) for pixels, _ in image_set.batches(size)]
    before, after = (_Maps(manifest, images) for _ in range(2))
    for index, node in enumerate(progress(manifest.layers, len(manifest.layers), "recalibrating")):
        if isinstance(node, ConcatNode):
            for maps in (before, after):
                maps.run(node, lambda *parts: torch.cat(parts, 1))
        elif isinstance(node, PoolNode):
            for maps in (before, after):
                maps.run(node, partial(pool, bundle.pool(node)))
        else:
            layer = bundle.conv(node)
            if not node.fully_connected:
                moments = (_moments(layer, maps.of(node.input)) for maps in (before, after))
                fields = _recalibrated(layer, *moments)
                tensors |= {f"layers.{node.name}.{field}": fields[field] for field in fields}
            before.run(node, partial(_convolve, layer, None))
            after.run(node, partial(_convolve, result.conv(node), predictors.get(node.name)))
        for maps in (before, after):
            maps.forget(manifest.layers[index + 1 :])
    return result


class _Maps:
    """The activations of many images that later layers read, in batches and 8 bits each."""

    def __init__(self, manifest: Manifest, images: Iterable[Tensor]) -> None:
        self.manifest = manifest
        self.tensors: dict[str, list[Tensor]] = {}
        self._keep(manifest.input.tensor, images)

    def _keep(self, name: str, batches: Iterable[Tensor]) -> None:
        dtype = torch.int8 if self.manifest.activations[name].signed else torch.uint8
        self.tensors[name] = [batch.to(dtype) for batch in batches]

    def of(self, name: str) -> Iterator[Tensor]:
        """A map's batches, int32 (images, channels, height, width)."""
        return (batch.to(torch.int32) for batch in self.tensors[name])

    def run(self, node: Node, operation: Callable[..., Tensor]) -> None:
        """Compute a node's output from what it reads."""
        operands = zip(*(self.of(name) for name in node.reads), strict=True)
        self._keep(node.output, (operation(*batch) for batch in operands))

    def forget(self, rest: Sequence[Node]) -> None:
        """Drop what no later layer reads."""
        for name in dead(rest, self.tensors, self.manifest.output):
            del self.tensors[name]


def _convolve(
    layer: Conv, predictor: Predictor | None, ifm: Tensor, residual: Tensor | None = None
) -> Tensor:
    return conv(layer, ifm, predictor, residual).ofm


def _moments(layer: Conv, batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Standard deviation and mean of each channel's sums without residual, float64 (c_o,)."""
    count = 0
    mean, squares = torch.zeros(2, len(layer.bias), dtype=torch.float64)
    for ifm in batches:
        sums = F.conv2d(ifm.float(), layer.weight.float(), None, layer.stride, layer.padding)
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
    """The tensors that change, by the last part of their name in a bundle."""
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
    """A requantisation times a real factor for each channel."""
    scale = np.ldexp(multiplier.double().numpy(), -shift.numpy()) * factor
    numbers = zip(("multiplier", "shift"), arithmetic.split_scale(scale))
    return {f"{prefix}{name}": torch.from_numpy(values) for name, values in numbers}
