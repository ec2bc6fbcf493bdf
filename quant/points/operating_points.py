"""Adding operating points, and their figures, to a bundle."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from golden.bundle import Bundle
from golden.manifest import Figures, LayerChoice, OperatingPoint
from golden.pattern import Pattern
from quant.zap.predictor import Site

__all__ = ["add_operating_point", "with_figures"]


def add_operating_point(
    bundle: Bundle,
    name: str,
    choices: Mapping[str, tuple[Pattern, float | np.ndarray]],
    network: Bundle | None = None,
) -> Bundle:
    """The bundle with one more operating point: layer -> (pattern, sigma or one for each channel).

    `network` is the bundle with layers adapted to the point, where they were.
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
        room, _, path = tensor.partition(".")
        if room == "layers" and not torch.equal(value, bundle.tensors[tensor]):
            layer, _, field = path.rpartition(".")
            adapted.setdefault(layer, []).append(field)
            tensors[f"operating_points.{name}.{path}"] = value
    point = OperatingPoint(name=name, layers=layers, adapted=adapted)
    points = [*bundle.manifest.operating_points, point]
    return Bundle(bundle.manifest.model_copy(update={"operating_points": points}), tensors)


def with_figures(bundle: Bundle, name: str, figures: dict[str, Figures]) -> Bundle:
    """The bundle with predicted and measured figures at one of its operating points."""
    points = [
        point.model_copy(update=figures) if point.name == name else point
        for point in bundle.manifest.operating_points
    ]
    return Bundle(bundle.manifest.model_copy(update={"operating_points": points}), bundle.tensors)
