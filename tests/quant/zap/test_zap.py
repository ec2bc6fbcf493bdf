"""ZAPs: how they are trained, and that their integers decide as they do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from golden.bundle import Bundle, check
from golden.layers import scores
from golden.network import Network, quantise_images
from golden.pattern import MASKS, Pattern
from quant.zap.predictor import Site, Zap
from quant.zap.quantisation import add_zaps, fold
from quant.zap.training import train_zaps
from tests.quant_cases import images, randomise_batch_norms, tiny_bundle, tiny_module

IMAGES = images(256)
LARGEST_SCORE = 9 * 255 * 127
SITES = [
    Site("conv2", MASKS["B"]),
    Site("conv3", MASKS["B"]),
    Site("conv4", MASKS["B"]),
    Site("conv2", Pattern.parse("4:0100")),
]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return tiny_bundle(tiny_module(), IMAGES)[1]


@pytest.fixture(scope="module")
def zaps(bundle: Bundle) -> dict[Site, Zap]:
    return train_zaps(bundle, SITES, IMAGES, epochs=20, seed=3)


def float_and_integer_scores(
    bundle: Bundle, site: Site, zap: Zap
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Real scores of a ZAP at `I_t`, those of its integers, and whether they are positive there."""
    unseen = images(64, seed=9)
    integers = quantise_images(bundle, unseen.pixels(slice(None)))
    step = next(s for s in Network(bundle).steps(integers) if s.node.name == site.layer)
    mask = torch.from_numpy(site.pattern.mask(*step.ofm.shape[2:]))
    partial = step.ofm * mask
    with torch.no_grad():
        real = zap(partial * bundle.manifest.activations[step.node.output].scale)
    predictor = bundle.predictor(site.name, bundle.threshold(site.name, 0.0))
    scale, offset = (
        bundle.tensors[f"predictors.{site.name}.{field}"].view(-1, 1, 1)
        for field in ("score_scale", "score_offset")
    )
    integer = scores(predictor, partial) * scale + offset
    return real[..., ~mask], integer[..., ~mask], (step.ofm > 0)[..., ~mask]


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.name)
def test_integer_zap_decides_as_the_float_one(
    bundle: Bundle, zaps: dict[Site, Zap], site: Site
) -> None:
    full = add_zaps(bundle, zaps, IMAGES)
    check(full, Path("tiny"))
    real, integer, _ = float_and_integer_scores(full, site, zaps[site])
    for sigma in (0.0, 0.2, 0.5):
        assert float(((real > sigma) == (integer > sigma)).float().mean()) > 0.97


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.name)
def test_zaps_learn(bundle: Bundle, zaps: dict[Site, Zap], site: Site) -> None:
    """On images they have not seen they are right more often than the commoner answer."""
    full = add_zaps(bundle, zaps, IMAGES)
    real, _, positive = float_and_integer_scores(full, site, zaps[site])
    share = float(positive.float().mean())
    assert float(((real > 0.5) == positive).float().mean()) > max(share, 1 - share) + 0.01


def test_a_channel_that_is_always_or_never_zero_is_known_as_such() -> None:
    module = tiny_module()
    with torch.no_grad():
        module.bn2.bias[:4] = 20
        module.bn2.bias[4:] = -20
    bundle = tiny_bundle(module, IMAGES)[1]
    zaps = train_zaps(bundle, SITES[:1], IMAGES, epochs=20, seed=3)
    full = add_zaps(bundle, zaps, IMAGES)
    _, integer, positive = float_and_integer_scores(full, SITES[0], zaps[SITES[0]])
    assert bool(positive[:, :4].all())
    assert not bool(positive[:, 4:].any())
    assert float(integer[:, :4].min()) > 0.7
    assert float(integer[:, 4:].max()) < 0.3


def test_thresholds_mean_sigma(bundle: Bundle, zaps: dict[Site, Zap]) -> None:
    """The integer comparison is the real one, for every score there can be."""
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


def test_training_leaves_the_network_alone(bundle: Bundle) -> None:
    before = {name: tensor.clone() for name, tensor in bundle.tensors.items()}
    train_zaps(bundle, SITES, IMAGES, epochs=1, seed=0)
    assert before.keys() == bundle.tensors.keys()
    assert all(torch.equal(before[name], bundle.tensors[name]) for name in before)


def test_each_zap_learns_as_if_alone(bundle: Bundle) -> None:
    alone = train_zaps(bundle, SITES[:1], IMAGES, epochs=2, seed=5)[SITES[0]]
    together = train_zaps(bundle, SITES, IMAGES, epochs=2, seed=5)[SITES[0]]
    for name, value in alone.state_dict().items():
        assert torch.equal(value, together.state_dict()[name]), name


def test_a_pattern_that_predicts_nothing_and_a_network_without_sites(bundle: Bundle) -> None:
    assert train_zaps(bundle, [], IMAGES, epochs=1, seed=0) == {}
    site = Site("conv2", Pattern(1, 1))
    zap = train_zaps(bundle, [site], IMAGES, epochs=1, seed=0)[site]
    assert all(bool(value.isfinite().all()) for value in zap.state_dict().values())


def test_zap_mixes_no_channels_and_pads_with_true_zeros() -> None:
    torch.manual_seed(0)
    zap = Zap(3).eval()
    nn.init.constant_(zap.bn1.bias, 0.5)
    partial = torch.rand(1, 3, 6, 6)
    other = partial.clone()
    other[:, 1] = 0
    with torch.no_grad():
        expected, changed = zap(partial), zap(other)
        wide = zap.conv2(torch.relu(zap.bn1(zap.conv1(nn.functional.pad(partial, (2,) * 4)))))
    assert torch.equal(expected[:, [0, 2]], changed[:, [0, 2]])
    assert not torch.equal(expected[:, 1], changed[:, 1])
    # A border of zeros is not what lies outside the map: there relu(bias) would count.
    assert not torch.allclose(zap.bn2(wide)[..., 2:-2, 2:-2], expected)


def degenerate(zap: Zap) -> None:
    """One kind of broken channel each; there are eight."""
    with torch.no_grad():
        zap.conv1.weight[0] = 0  # sees nothing: hidden is a constant
        zap.conv2.weight[1] = 0  # says nothing: the score is a constant
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
