"""Adding operating points, and their figures, to a bundle."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from golden.bundle import Bundle
from golden.manifest import Figures, LayerChoice, OperatingPoint, TimeChoice
from golden.pattern import Pattern
from quant.points.alternatives import Choice
from quant.points.cycle_savings import CycleSavings
from quant.zap.predictor import Site

__all__ = ["add_operating_point", "with_figures", "with_time_choice"]


def add_operating_point(
    bundle: Bundle,
    name: str,
    choices: Mapping[str, tuple[Pattern, float | np.ndarray]],
    network: Bundle | None = None,
) -> Bundle:
    """Return the bundle with one more operating point.

    Parameters
    ----------
    bundle : Bundle
    name : str
        The operating point's name.
    choices : {layer name: (Pattern, sigma)}
        Sigma is one threshold, or one for each channel, float64 (channels,).
    network : Bundle, optional
        The bundle with tensors that were adapted to the operating point; they are stored with it.
    """
    layers = {}
    adapted: dict[str, list[str]] = {}
    tensors = dict(bundle.tensors)
    for layer, (pattern, sigma) in choices.items():
        predictor = Site(layer, pattern).name
        layers[layer] = LayerChoice(
            predictor=predictor, sigma=None if isinstance(sigma, np.ndarray) else sigma
        )
        table = bundle.threshold(predictor, sigma)
        tensors[f"operating_points.{name}.{layer}.threshold"] = table
    for tensor, value in ({} if network is None else network.tensors).items():
        section, _, path = tensor.partition(".")
        if section == "layers" and not torch.equal(value, bundle.tensors[tensor]):
            layer, _, field = path.rpartition(".")
            adapted.setdefault(layer, []).append(field)
            tensors[f"operating_points.{name}.{path}"] = value
    point = OperatingPoint(name=name, layers=layers, adapted=adapted)
    points = [*bundle.manifest.operating_points, point]
    return Bundle(bundle.manifest.model_copy(update={"operating_points": points}), tensors)


def with_figures(bundle: Bundle, name: str, figures: dict[str, Figures]) -> Bundle:
    """Return the bundle with predicted or measured figures at one of its operating points."""
    return _updated(bundle, name, figures)


def with_time_choice(bundle: Bundle, name: str, cycles: CycleSavings, choice: Choice) -> Bundle:
    """Return the bundle in which an operating point tells that it was chosen by cycles."""
    assert choice.cycle_reduction is not None
    left = {node.layer for node in bundle.manifest.predictors.values()} - set(choice.layers)
    by_time = TimeChoice(
        config=cycles.costs.config,
        speed_up=1 / (1 - choice.cycle_reduction),
        left_out=[layer for layer in cycles.costs.layers if layer in left],
    )
    return _updated(bundle, name, {"by_time": by_time})


def _updated(bundle: Bundle, name: str, fields: Mapping[str, object]) -> Bundle:
    points = [
        point.model_copy(update=fields) if point.name == name else point
        for point in bundle.manifest.operating_points
    ]
    return Bundle(bundle.manifest.model_copy(update={"operating_points": points}), bundle.tensors)
