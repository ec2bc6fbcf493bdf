"""The integers of a ZAP decide as the float ZAP does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from golden.bundle import Bundle, check
from quant.zap.predictor import Site, Zap
from quant.zap.quantisation import add_zaps, fold
from tests.quant.tiny_networks import randomise_batch_norms
from tests.quant.zap.float_and_integer_scores import float_and_integer_scores
from tests.quant.zap.trained_zaps import IMAGES, SITES

LARGEST_SCORE = 9 * 255 * 127


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.name)
def test_integer_zap_decides_as_the_float_one(
    bundle: Bundle, zaps: dict[Site, Zap], site: Site
) -> None:
    full = add_zaps(bundle, zaps, IMAGES)
    check(full, Path("tiny"))
    real, integer, _ = float_and_integer_scores(full, site, zaps[site])
    for sigma in (0.0, 0.2, 0.5):
        assert float(((real > sigma) == (integer > sigma)).float().mean()) > 0.97


def test_thresholds_mean_sigma(bundle: Bundle, zaps: dict[Site, Zap]) -> None:
    """The integer comparison gives the result of the real one for every possible score."""
    full = add_zaps(bundle, zaps, IMAGES)
    name = SITES[0].name
    integers = torch.arange(-LARGEST_SCORE, LARGEST_SCORE + 1)
    scale, offset = (
        full.tensors[f"predictors.{name}.{f}"] for f in ("score_scale", "score_offset")
    )
    for sigma in (-1.0, 0.0, 0.3):
        table = full.threshold(name, sigma)
        for channel in range(len(table)):
            real = integers * scale[channel] + offset[channel]
            assert torch.equal(integers > table[channel], real > sigma)


def degenerate(zap: Zap) -> None:
    """Break each of the eight channels in another way."""
    with torch.no_grad():
        zap.conv1.weight[0] = 0  # sees nothing: hidden is a constant
        zap.conv2.weight[1] = 0  # the score is a constant
        zap.bn1.weight[2], zap.bn1.bias[2] = 0, 0  # hidden is zero
        zap.bn1.weight[3], zap.bn1.bias[3] = 0, 50  # hidden is large and constant
        zap.bn2.weight[4] = 0
        zap.bn1.bias[5] = -1e4  # hidden never leaves zero
        zap.bn1.weight[6] *= 1e4
        zap.conv1.weight[7] *= 1e-20


def test_degenerate_channels(bundle: Bundle) -> None:
    torch.manual_seed(0)
    zap = Zap(8)
    randomise_batch_norms(zap)
    degenerate(zap)
    zap.eval()
    full = add_zaps(bundle, {SITES[0]: zap}, IMAGES)
    check(full, Path("tiny"))
    real, integer, _ = float_and_integer_scores(full, SITES[0], zap)
    spread = real.abs().amax((0, 2)) + 1e-3
    assert float(((real - integer).abs().amax((0, 2)) / spread).max()) < 0.1


def test_folding_keeps_the_scores() -> None:
    torch.manual_seed(0)
    zap = Zap(4)
    randomise_batch_norms(zap)
    zap.eval()
    folded = fold(zap)
    partial = torch.rand(2, 4, 7, 5, dtype=torch.float64)
    hidden = torch.relu(depthwise(partial, folded.weight1, folded.bias1))
    with torch.no_grad():
        torch.testing.assert_close(
            depthwise(hidden, folded.weight2, folded.bias2).float(), zap(partial.float())
        )


def depthwise(ofm, weight, bias):  # type: ignore[no-untyped-def]
    kernel = torch.from_numpy(weight).unsqueeze(1)
    return nn.functional.conv2d(ofm, kernel, torch.from_numpy(bias), padding=1, groups=len(weight))
