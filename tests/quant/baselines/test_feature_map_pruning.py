"""Feature-map pruning: channels near zero are neither loaded nor computed with."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from golden.bundle import Bundle
from golden.layers import conv
from golden.network import Network
from golden.pattern import MASKS
from quant.baselines.feature_map_pruning import FeatureMapPruning, live_channels, prune
from quant.baselines.value_prediction import ValuePrediction
from quant.points.evaluation import evaluate
from tests.quant.dead_channels import IMAGES, assert_equal_bits, conv_steps


def test_channels_within_epsilon_of_zero_are_pruned() -> None:
    ifm = torch.tensor([[[[0, 0]], [[0, 2]], [[-3, 1]]], [[[1, 0]], [[0, 0]], [[0, -3]]]])
    live = [live_channels(ifm, epsilon).int().tolist() for epsilon in range(4)]
    assert live == [
        [[0, 1, 1], [1, 0, 1]],
        [[0, 1, 1], [0, 0, 1]],
        [[0, 0, 1], [0, 0, 1]],
        [[0, 0, 0], [0, 0, 0]],
    ]
    assert prune(ifm, 1)[1].tolist() == [[[0, 0]], [[0, 0]], [[0, -3]]]


@pytest.mark.parametrize("sigma", [None, 0.1])
def test_pruning_zero_channels_changes_no_bit(zap_bundle: Bundle, sigma: float | None) -> None:
    predictors = {} if sigma is None else zap_bundle.uniform(MASKS["B"], sigma)
    plain = evaluate(zap_bundle, predictors, IMAGES)
    pruned = evaluate(zap_bundle, predictors, IMAGES, epsilon=0)
    assert pruned.load_reduction > plain.load_reduction == 0
    assert pruned.mac_reduction > plain.mac_reduction
    network = Network(zap_bundle, predictors)
    assert_equal_bits(FeatureMapPruning(network, 0), network)


def test_zero_channels_of_value_prediction_change_no_bit_either(
    zap_bundle: Bundle,
) -> None:
    network = ValuePrediction(zap_bundle, 2)
    assert_equal_bits(FeatureMapPruning(network, 0), network)


@pytest.mark.parametrize("epsilon", [0, 12])
def test_what_is_left_is_the_sum_over_live_channels(zap_bundle: Bundle, epsilon: int) -> None:
    """Each image and layer is recomputed without the pruned channels and their weights."""
    pruned = 0
    for step, node, result in conv_steps(FeatureMapPruning(Network(zap_bundle), epsilon)):
        layer = zap_bundle.conv(node)
        for image, live in enumerate(live_channels(step.ifm, epsilon)):
            if node.fully_connected:
                live = torch.ones_like(live)
            pruned += int((~live).sum())
            left = replace(layer, weight=layer.weight[:, live])
            one = slice(image, image + 1)
            residual = None if step.residual is None else step.residual[one]
            expected = conv(left, step.ifm[one, live], None, residual)
            assert torch.equal(result.ofm[one], expected.ofm)
    assert pruned > 0
