"""Random predictors in networks that have none."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from golden.bundle import Bundle
from golden.layers import Predictor
from golden.manifest import ConvNode, LayerChoice, OperatingPoint, PredictorNode
from tb.random.draws import CORNERS, Draw, draw_predictor

__all__ = ["POINT", "with_random_zaps", "zap_tensors"]

POINT = "zap"
"""The operating point of a random network."""


def zap_tensors(layer: str, name: str, zap: Predictor) -> dict[str, Tensor]:
    """The tensors of a predictor, and of its layer at the operating point, as in a bundle."""
    fields = ("weight1", "bias1", "shift1", "weight2")
    channels = len(zap.threshold)
    return {
        **{f"predictors.{name}.{field}": getattr(zap, field) for field in fields},
        f"predictors.{name}.score_scale": torch.ones(channels, dtype=torch.float64),
        f"predictors.{name}.score_offset": torch.zeros(channels, dtype=torch.float64),
        f"operating_points.{POINT}.{layer}.threshold": zap.threshold,
    }


def with_random_zaps(bundle: Bundle, layers: Sequence[str], rng: random.Random) -> Bundle:
    """Return the bundle with random predictors in those layers, at the operating point `POINT`."""
    draw = Draw(torch.Generator().manual_seed(rng.getrandbits(32)))
    tensors = dict(bundle.tensors)
    predictors, choices = {}, {}
    for node in bundle.manifest.layers:
        if isinstance(node, ConvNode) and node.name in layers:
            channels = len(bundle.conv(node).weight)
            zap = draw_predictor(draw, rng, rng.choice(CORNERS), channels)
            name = f"{node.name}-zap"
            tensors |= zap_tensors(node.name, name, zap)
            predictors[name] = PredictorNode(layer=node.name, pattern=str(zap.pattern))
            choices[node.name] = LayerChoice(predictor=name, sigma=0.0)
    point = OperatingPoint(name=POINT, layers=choices)
    update = {"predictors": predictors, "operating_points": [point]}
    return Bundle(bundle.manifest.model_copy(update=update), tensors)
