"""Training follows the recipe of a network."""

from __future__ import annotations

from dataclasses import replace

import torch

from quant.data.registry import load
from quant.networks.registry import MODELS
from quant.training.trainer import float_top1, train

MODEL = MODELS["digits"]


def test_recipes_that_erase_squares_and_smooth_labels_learn() -> None:
    dataset = load("digits", None)
    torch.manual_seed(1)
    module = MODEL.build(10)
    recipe = replace(MODEL.recipe, epochs=4, erased=2, label_smoothing=0.1)
    train(MODEL, module, dataset.train, recipe, seed=1, device="cpu")
    assert float_top1(MODEL, module, dataset.held_out, device="cpu") > 80
