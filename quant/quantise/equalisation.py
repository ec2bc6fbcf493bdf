"""Equalisation: a tensor's channels get factors that its readers undo, so that few levels are lost.

All channels of a tensor share one scale, and so do all tensors that meet in a concat. A channel of
small values then has few levels. A convolution may multiply a channel by a positive factor, though:
the ReLU commutes with it, poolings and concats hand it on, and the convolutions that read the
channel divide their weights by it, as additions of a residual divide by it. The network computes
what it did before, on tensors that suit 8 bits better (Nagel et al. 2019, *Data-Free Quantization
through Weight Equalization and Bias Correction*, section 4.1).

Weights have a scale for each output channel, so factors cost nothing where a channel is written.
They cost levels of weights where it is read. Hence several choices of factors are tried for the
tensors that are read together, on images that the factors were not taken from, and the one is kept
after which the readers' results are closest to the float ones. Where they are close as it is, which
is the rule in trained networks, nothing is changed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from golden.arithmetic import S8, U8
from golden.padding import conv2d
from quant.frontend.graph import INPUT, ConcatLayer, ConvLayer, Graph, Residual
from quant.quantise.calibration import Histogram
from quant.quantise.integer_network import WEIGHT_MAX

__all__ = ["apply_factors", "equalise"]

Factors = Mapping[str, Tensor]
"""Convolution -> the factor of each channel of its ofm, float64 (c_o,)."""

_DEAD = 1e-6
"""A channel whose range is so small a share of the largest one's counts as always zero."""
_SMALLEST = 1e-30
_ENOUGH = 10**-3.5
"""Readers with a smaller squared error (35 dB) are not those that cost accuracy."""
_GAIN = 0.5
"""Factors are kept if the readers' squared error is less than this share of what it was.

Smaller gains of single layers were none of the logits, in ResNet-8 and SqueezeNet 1.0.
"""
_SMALLEST_ENERGY = 1e-6
"""The least energy that an error is a share of, as a share of the reader's largest channel's."""
_STORED = 48_000_000
"""Activations that are held in memory to compare choices on."""
_MOST_IMAGES, _FEWEST_IMAGES = 32, 2
_BATCHES = 4
"""The last batches of the calibration are enough."""


def equalise(graph: Graph, batches: Sequence[Tensor]) -> Graph:
    """Return the graph with the factors that reduce the error of its integer network.

    Parameters
    ----------
    graph : Graph
    batches : sequence of float (n, channels, height, width)
        Normalised images. The last ones are not used for the factors, but to compare choices.

    The graph computes the same logits, and has the same layers. It is the given one where nothing
    is to be gained.
    """
    fitted, compared = _divided(graph, batches)
    tensors = {INPUT: compared} | {layer.name: ofm for layer, ofm in graph.run(compared)}
    channels, groups = _Channels(graph), graph.scale_groups()
    trials = [
        _Trial(graph, channels, groups, component, tensors) for component in _components(channels)
    ]
    wanting = [trial for trial in trials if trial.error({}) > _ENOUGH]
    if not wanting:
        return graph
    ranges = _ranges(graph, fitted)
    kept: dict[str, Tensor] = {}
    for trial in wanting:
        kept |= trial.best(ranges)
    return apply_factors(graph, kept) if kept else graph


def apply_factors(graph: Graph, factors: Factors) -> Graph:
    """Return the graph with its convolutions' ofms multiplied, and divided where they are read.

    A convolution with a ceiling has one factor for all its channels. The graph's output has none.
    """
    channels = _Channels(graph)
    result = replace(graph, layers=copy.deepcopy(graph.layers))
    for layer in result.layers:
        if not isinstance(layer, ConvLayer):
            continue
        own = channels.factors(layer.name, factors)
        weight = channels.read(layer, factors) * own.view(-1, 1, 1, 1)
        layer.weight = weight.to(layer.weight.dtype)
        layer.bias = (layer.bias.double() * own).to(layer.bias.dtype)
        if layer.ceiling != math.inf:
            layer.ceiling *= float(own[0])
        if layer.residual is not None:
            layer.residual.gain = channels.gain(layer.residual, own, factors)
    return result


class _Channels:
    """Knows which convolutions' ofms the channels of every tensor of a graph come from.

    Parameters
    ----------
    graph : Graph
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.origins: dict[str, list[str]] = {INPUT: []}
        """Tensor -> the convolutions whose channels it has, one after the other."""
        for layer in graph.layers:
            if isinstance(layer, ConvLayer):
                self.origins[layer.name] = [layer.name]
            else:
                inputs = layer.inputs if isinstance(layer, ConcatLayer) else [layer.input]
                self.origins[layer.name] = [o for name in inputs for o in self.origins[name]]

    def factors(self, tensor: str, factors: Factors) -> Tensor:
        """Return the factor of each channel of a tensor; 1 where none is given."""
        parts = [self._of(name, factors) for name in self.origins[tensor] or [tensor]]
        return torch.cat(parts)

    def read(self, layer: ConvLayer, factors: Factors) -> Tensor:
        """Return the weights of a layer whose ifm was multiplied by the factors, float64."""
        ifm = self.factors(layer.input, factors).view(layer.groups, -1)
        each = ifm.repeat_interleave(len(layer.weight) // layer.groups, 0)[:, :, None, None]
        return layer.weight.double() / each

    def gain(self, residual: Residual, own: Tensor, factors: Factors) -> Tensor | None:
        """Return the gain of a residual that has factors, in an ofm that has the factors `own`."""
        theirs = self.factors(residual.input, factors)
        first = residual.channel_offset
        before = torch.ones_like(theirs) if residual.gain is None else residual.gain
        gain = before * own[first : first + len(theirs)] / theirs
        return None if bool((gain == 1).all()) else gain

    def _of(self, name: str, factors: Factors) -> Tensor:
        ones = torch.ones(self.graph.shapes[name][0], dtype=torch.float64)
        return factors.get(name, ones)


def _components(channels: _Channels) -> list[list[str]]:
    """Return the convolutions that may have factors, those together whose ofms meet in a tensor."""
    graph, origins = channels.graph, channels.origins
    fixed = {name for output in graph.outputs for name in origins[output.tensor]}
    for layer in graph.layers:
        if isinstance(layer, ConvLayer) and layer.keeps_scale:
            copied = [layer.input, *([layer.residual.input] if layer.residual else [])]
            fixed |= {layer.name, *(name for tensor in copied for name in origins[tensor])}
    together = {name: {name} for name, own in origins.items() if own == [name]}
    for names in origins.values():
        joined = set().union(*(together[name] for name in names))
        together |= dict.fromkeys(joined, joined)
    members = {min(joined): joined for joined in together.values() if not joined & fixed}
    return [sorted(joined) for joined in members.values()]


def _divided(graph: Graph, batches: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """Divide images into those that factors are taken from, and those that choices see.

    A single image has to do for both.
    """
    size = sum(math.prod(shape) for shape in graph.shapes.values())
    images = torch.cat(list(batches[-_BATCHES:]))
    count = min(max(_STORED // size, _FEWEST_IMAGES), _MOST_IMAGES, len(images) // 2)
    fitted, compared = images.split([len(images) - count, count])
    return list(fitted.split(_MOST_IMAGES)), compared if count else images


def _ranges(graph: Graph, batches: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the best range of each channel of each convolution's ofm, float64."""
    maxima: dict[str, Tensor] = {}
    for values in _channels(graph, batches):
        for name, rows in values.items():
            largest = rows.abs().amax(1)
            maxima[name] = torch.maximum(maxima.get(name, largest), largest)
    histograms = {name: Histogram(maximum) for name, maximum in maxima.items()}
    for values in _channels(graph, batches):
        for name, rows in values.items():
            histograms[name].add(rows)
    return {
        name: histogram.best_range(S8[1] if graph.signed(name) else U8[1]) * (maxima[name] > 0)
        for name, histogram in histograms.items()
    }


def _channels(graph: Graph, batches: Sequence[Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield each convolution's ofm as (channels, any number)."""
    for images in batches:
        for layer, ofm in graph.run(images):
            if isinstance(layer, ConvLayer):
                yield {layer.name: ofm.transpose(0, 1).flatten(1)}


@dataclass
class _Trial:
    """Compares choices of factors for convolutions whose ofms are read together.

    `tensors` holds every tensor of some images.
    """

    graph: Graph
    channels: _Channels
    groups: dict[str, str]
    members: list[str]
    tensors: dict[str, Tensor]
    readers: list[ConvLayer] = field(init=False)

    def __post_init__(self) -> None:
        self.readers = [
            layer
            for layer in self.graph.layers
            if isinstance(layer, ConvLayer)
            and (
                self._ours(layer.input)
                or (layer.residual is not None and self._ours(layer.residual.input))
            )
        ]

    def best(self, ranges: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the best factors; none where they gain too little."""
        least, kept = _GAIN * self.error({}), {}
        for factors in self.choices(ranges):
            error = self.error(factors)
            if error < least:
                least, kept = error, factors
        return kept

    def choices(self, ranges: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        """Yield factors: for whole parts, for channels, and for channels with regard to weights."""
        target = max(float(ranges[name].max()) for name in self.members)
        parts = {name: ranges[name].max().expand_as(ranges[name]) for name in self.members}
        for given in (parts, ranges) if len(parts) > 1 else (ranges,):
            yield {name: self._equal(name, given[name], target) for name in parts}
        yield self._balanced(ranges)

    def _equal(self, name: str, ranges: Tensor, target: float) -> Tensor:
        """Return the factors that make all ranges the same."""
        ranges = self._of_layer(name, ranges)
        return target / ranges.where(ranges > _DEAD * target, target)

    def _balanced(self, ranges: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the factors that make each channel's range that of the weights that read it.

        These weights are taken in units of the largest product of a weight and a range that enters
        the same sum. A channel that is always zero gets weights that are no larger than others.
        """
        weights = {name: torch.zeros_like(ranges[name]) for name in self.members}
        for layer in self.readers:
            if not self._ours(layer.input):
                continue
            origins = self.channels.origins[layer.input]
            sizes = [len(ranges[name]) for name in origins]
            columns = _of_all_channels(layer, layer.weight.double().abs().amax((2, 3)))
            products = columns * torch.cat([ranges[name] for name in origins])
            columns /= products.amax(1, keepdim=True).clamp(min=_SMALLEST)
            for name, part in zip(origins, columns.amax(0).split(sizes)):
                weights[name] = torch.maximum(weights[name], part)
        weight = torch.cat([self._of_layer(name, weights[name]) for name in self.members])
        reach = torch.cat([self._of_layer(name, ranges[name]) for name in self.members])
        alive = (reach > _DEAD * reach.max()) & (weight > 0)
        factors = (weight / reach).sqrt()
        if not bool(alive.any()):
            return {}
        quiet = (weight / (weight / factors)[alive].max()).clamp(min=float(factors[alive].min()))
        factors = factors.where(alive, quiet)
        return dict(zip(self.members, factors.split([len(ranges[name]) for name in self.members])))

    def _of_layer(self, name: str, values: Tensor) -> Tensor:
        """Return the values of a layer's channels; the largest one for all, if it has a ceiling."""
        return values.max().expand_as(values) if self._limited(name) else values

    def _limited(self, name: str) -> bool:
        """Return whether a convolution has a ceiling, which is one for all of its channels."""
        layer = self.graph.layer(name)
        return isinstance(layer, ConvLayer) and layer.ceiling != math.inf

    def error(self, factors: Factors) -> float:
        """Return the mean squared error of the readers' channels, each as a share of its energy.

        A channel that is lost altogether counts as one, and no channel counts more.
        """
        rounded: dict[str, Tensor] = {}
        return sum(self._error_of(layer, factors, rounded) for layer in self.readers)

    def _error_of(self, layer: ConvLayer, factors: Factors, rounded: dict[str, Tensor]) -> float:
        ifm, weight = self.tensors[layer.input], layer.weight
        if self._ours(layer.input):
            ifm = self._rounded(layer.input, factors, rounded)
            weight = _rounded_weight(self.channels.read(layer, factors).to(weight.dtype))
        ofm = conv2d(
            ifm, weight, layer.bias, layer.stride, layer.padding, layer.groups, layer.dilation
        )
        residual = layer.residual
        if residual is not None:
            other = self.tensors[residual.input]
            if self._ours(residual.input):
                other = self._rounded(residual.input, factors, rounded)
                own = torch.ones(len(weight), dtype=torch.float64)
                residual = replace(residual, gain=self.channels.gain(residual, own, factors))
            residual.add_to(ofm, other)
        if layer.relu:
            ofm = ofm.clamp_(0, layer.ceiling)
        real = self.tensors[layer.name]
        noise = (ofm - real).square().sum((0, 2, 3)).double()
        signal = real.square().sum((0, 2, 3)).double()
        least = max(_SMALLEST_ENERGY * float(signal.max()), _SMALLEST)
        return float((noise / signal.clamp(min=least)).clamp(max=1).mean())

    def _ours(self, tensor: str) -> bool:
        return not set(self.members).isdisjoint(self.channels.origins[tensor])

    def _rounded(self, tensor: str, factors: Factors, rounded: dict[str, Tensor]) -> Tensor:
        """Return a tensor times its factors, rounded to 8 bits."""
        if tensor not in rounded:
            group = self.groups[self.graph.scale_sources(tensor)[0].name]
            sharing = [name for name, of in self.groups.items() if of == group]
            values = [self._scaled(name, factors).flatten() for name in sharing]
            histogram = Histogram(torch.stack([v.abs().max() for v in values]).max().view(1))
            for v in values:
                histogram.add(v.view(1, -1))
            limits = S8 if self.graph.signed(tensor) else U8
            step = float(histogram.best_range(limits[1])) / limits[1]
            levels = (self._scaled(tensor, factors) / step).round().clamp(*limits)
            rounded[tensor] = levels * step
        return rounded[tensor]

    def _scaled(self, tensor: str, factors: Factors) -> Tensor:
        values = self.tensors[tensor]
        return values * self.channels.factors(tensor, factors).to(values).view(-1, 1, 1)


def _of_all_channels(layer: ConvLayer, values: Tensor) -> Tensor:
    """Return values (c_o, c_i / groups) for all input channels, with zeros for other groups."""
    kernels, channels = len(values) // layer.groups, values.shape[1]
    result = values.new_zeros(len(values), layer.groups * channels)
    for group in range(layer.groups):
        rows = slice(group * kernels, (group + 1) * kernels)
        result[rows, group * channels : (group + 1) * channels] = values[rows]
    return result


def _rounded_weight(weight: Tensor) -> Tensor:
    """Return weights rounded as `quant.quantise.integer_network` rounds them."""
    step = (weight.abs().amax((1, 2, 3), keepdim=True) / WEIGHT_MAX).clamp(min=_SMALLEST)
    return (weight / step).round() * step
