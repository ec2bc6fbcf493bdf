"""Layers that the predictor bounds take fewer cycles if it takes several positions in a cycle."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from bench.measure import kept_shares
from compiler.build import compile_bundle
from compiler.cycles import layer_cycles
from golden import arithmetic
from golden.bundle import Bundle
from golden.manifest import (
    SCHEMA_VERSION,
    Activation,
    ConvNode,
    Input,
    LayerChoice,
    Manifest,
    OperatingPoint,
    PredictorNode,
)
from golden.pattern import MASKS, Pattern
from tb.exchange.core_files import Run
from tb.random.draws import Draw, draw_conv, draw_predictor
from tb.random.networks import random_image
from tb.random.zaps import POINT
from tb.runs import core
from tests.hw.small_configs import STRIPS

CHANNELS, HEIGHT, WIDTH = 48, 5, 12
"""A map that `STRIPS` takes in one strip, so that little but the predictor bounds it."""
EXACT_WITHIN = 0.03
"""Share of the cycles that a layer took, as for the networks of `tests.compiler.test_cycles`."""


def one_word_kernels(pattern: Pattern, share: int) -> Bundle:
    """Return a 1x1 convolution with a ZAP; `share` of its channels keep everything, others nothing.

    `share` is in eighths.
    """
    rng = random.Random(7)
    draw = Draw(torch.Generator().manual_seed(7))
    conv = draw_conv(draw, rng, "conv", (CHANNELS, STRIPS.lanes, 1, 1))
    fc = draw_conv(draw, rng, "fc", (2, CHANNELS, 1, 1), signed_output=True)
    zap = draw_predictor(draw, rng, "any", CHANNELS)
    kept = torch.arange(CHANNELS) % 8 < share
    always, never = arithmetic.signed_range(arithmetic.SCORE_BITS)
    threshold = torch.where(kept, always, never).to(torch.int32)
    tensors = {
        f"layers.{layer.name}.{field}": getattr(layer, field)
        for layer in (conv, fc)
        for field in ("weight", "bias", "multiplier", "shift")
    }
    for field in ("weight1", "bias1", "shift1", "weight2"):
        tensors[f"predictors.zap.{field}"] = getattr(zap, field)
    tensors["predictors.zap.score_scale"] = torch.ones(CHANNELS, dtype=torch.float64)
    tensors["predictors.zap.score_offset"] = torch.zeros(CHANNELS, dtype=torch.float64)
    tensors[f"operating_points.{POINT}.conv.threshold"] = threshold
    shapes = {
        "image": (STRIPS.lanes, HEIGHT, WIDTH),
        "conv": (CHANNELS, HEIGHT, WIDTH),
        "fc": (2, HEIGHT, WIDTH),
    }
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name="one_word",
        input=Input(tensor="image", mean=[0.0] * STRIPS.lanes, std=[1.0] * STRIPS.lanes),
        output="fc",
        classes=["a", "b"],
        activations={
            name: Activation(shape=shape, signed=name == "fc", scale=1)
            for name, shape in shapes.items()
        },
        layers=[
            ConvNode(name="conv", input="image", output="conv"),
            ConvNode(name="fc", input="conv", output="fc"),
        ],
        predictors={"zap": PredictorNode(layer="conv", pattern=str(pattern))},
        operating_points=[
            OperatingPoint(name=POINT, layers={"conv": LayerChoice(predictor="zap", sigma=0.0)})
        ],
    )
    return Bundle(manifest, tensors)


@pytest.mark.second
@pytest.mark.sim
def test_one_word_kernels_gain_and_the_model_says_how_much() -> None:
    """The model's figure is that of the first, which the predictor bounds at any width.

    The others keep so much that the array waits for the predictor between channels.
    """
    bundles = [
        one_word_kernels(MASKS[mask], share)
        for mask, share in (("B", 1), ("B", 5), ("D", 1), ("D", 5), ("A", 3))
    ]
    counted: dict[int, list[int]] = {}
    for positions in (1, 2, 4):
        config = replace(STRIPS, predictor_positions=positions)
        images = [random_image(bundle, random.Random(1)) for bundle in bundles]
        runs = [
            Run(
                program=compile_bundle(bundle, config, keep=True),
                image=image.numpy(),
                point=POINT,
            )
            for bundle, image in zip(bundles, images, strict=True)
        ]
        outcomes = core.run(core.build(config, "verilator"), runs)
        for bundle, run, outcome in zip(bundles, runs, outcomes, strict=True):
            assert all(check.mismatch is None for check in core.check(bundle, run, outcome))
        counted[positions] = [outcome.layers[0]["elapsed"] for outcome in outcomes]
        kept = kept_shares(bundles[0], POINT, images[0])
        model = layer_cycles(runs[0].program, POINT, kept, runs[0].latency)["conv"].elapsed
        assert counted[positions][0] == pytest.approx(model, rel=EXACT_WITHIN)
    for one, two, four in zip(*counted.values(), strict=True):
        assert two < 0.8 * one
        assert four <= two
