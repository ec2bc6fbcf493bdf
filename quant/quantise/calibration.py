"""Calibration: the scale of every activation tensor, found on training images.

Histograms of magnitudes are collected a batch at a time. On each histogram the range with the least
squared error is then searched: a smaller range clips more values, a larger one has coarser levels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from golden.arithmetic import S8, U8
from quant.frontend.graph import INPUT, ConvLayer, Graph
from quant.networks.model import Model

__all__ = ["Histogram", "activation_scales"]

_BINS = 2048
_CANDIDATES = 80
_SMALLEST_CANDIDATE = 0.2
_SMALLEST_MAXIMUM = 1e-6
"""Stands for the range of a tensor or channel that is always zero."""


class Histogram:
    """Histograms of magnitudes, one for each of several groups of values.

    Parameters
    ----------
    maximum : float (groups,)
        The largest magnitude of each group.
    """

    def __init__(self, maximum: Tensor) -> None:
        self.maximum = maximum.to(torch.float64).clamp(min=_SMALLEST_MAXIMUM)
        self.counts = torch.zeros(len(maximum), _BINS, dtype=torch.float64)

    def add(self, values: Tensor) -> None:
        """Count values of shape (groups, any number)."""
        groups = len(self.counts)
        bins = (values.abs() * (_BINS / self.maximum).to(values).view(-1, 1)).long()
        bins = bins.clamp(max=_BINS - 1) + _BINS * torch.arange(groups).view(-1, 1)
        self.counts += torch.bincount(bins.flatten(), minlength=groups * _BINS).view(groups, _BINS)

    def best_range(self, levels: int) -> Tensor:
        """Return each group's clipping range with the least error at `levels` steps, float64."""
        centres = (torch.arange(_BINS, dtype=torch.float64) + 0.5) / _BINS
        errors = []
        shares = torch.linspace(_SMALLEST_CANDIDATE, 1, _CANDIDATES, dtype=torch.float64)
        for share in shares:
            step = share / levels
            rounded = (centres / step).round().clamp(max=levels) * step
            errors.append(self.counts @ (centres - rounded).square())
        return self.maximum * shares[torch.stack(errors).argmin(0)]


def activation_scales(graph: Graph, model: Model, batches: Iterable[Tensor]) -> dict[str, float]:
    """Return the scale of every tensor of the graph: value = scale * integer.

    `batches` are normalised images; they are used twice. The input's range covers every possible
    pixel. The logits' range covers the largest value seen, because a clipped winner could tie. A
    max pool has the range of its input. Layers whose results meet in a concat share one range, and
    the concat has it too. The range of a layer with a ceiling (ReLU6) is no larger than that, so
    that saturation at the largest integer is the ceiling.
    """
    batches = list(batches)
    groups = graph.scale_groups()
    maxima: dict[str, Tensor] = {}
    for images in batches:
        for layer, ofm in graph.run(images):
            if layer.name in groups:
                seen = maxima.get(groups[layer.name], torch.zeros(1))
                maxima[groups[layer.name]] = torch.maximum(seen, ofm.abs().max().view(1))
    logits = {groups[layer.name] for layer in graph.scale_sources(graph.output)}
    histograms = {name: Histogram(maximum) for name, maximum in maxima.items()}
    for images in batches:
        for layer, ofm in graph.run(images):
            if layer.name in groups and groups[layer.name] not in logits:
                histograms[groups[layer.name]].add(ofm.reshape(1, -1))

    ceilings = dict.fromkeys(histograms, math.inf)
    for layer in graph.layers:
        if isinstance(layer, ConvLayer):
            group = groups[layer.name]
            ceilings[group] = min(ceilings[group], max(layer.ceiling, _SMALLEST_MAXIMUM))
    scales = {INPUT: input_scale(model)}
    for layer in graph.layers:
        levels = S8[1] if graph.signed(layer.name) else U8[1]
        group = groups[graph.scale_sources(layer.name)[0].name]
        histogram = histograms[group]
        reach = histogram.maximum if group in logits else histogram.best_range(levels)
        scales[layer.name] = min(float(reach), ceilings[group]) / levels
    return scales


def input_is_signed(model: Model) -> bool:
    """Return whether a normalised pixel can be negative."""
    return max(model.mean) > 0


def input_scale(model: Model) -> float:
    """Return the scale at which every possible pixel fits into the network's input."""
    extremes = model.normalise(torch.tensor([0.0, 1.0]).expand(len(model.mean), 2).unsqueeze(1))
    return float(extremes.abs().max()) / (S8[1] if input_is_signed(model) else U8[1])
