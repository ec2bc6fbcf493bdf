"""MACs and loads are counted once, and only those of convolutions."""

from __future__ import annotations

import torch

from golden.bundle import Bundle
from golden.layers import ConvResult, Counters
from golden.manifest import ConvNode
from golden.network import Network, Step
from golden.pattern import MASKS
from quant.baselines.feature_map_pruning import FeatureMapPruning
from quant.points.accounting import Evaluation, LayerTally
from quant.points.evaluation import evaluate
from tests.quant.dead_channels import IMAGES, conv_steps


def test_a_mac_is_skipped_once() -> None:
    """A 3x3 layer with two input channels runs on images with one and with two live channels."""
    node = ConvNode(name="conv", input="in", output="conv", padding=(1, 1, 1, 1))
    keep = torch.tensor([[[[1, 1], [1, 1]]], [[[1, 0], [0, 1]]]]).bool()
    dense = torch.tensor([[[[5, 0], [0, 0]]], [[[1, 2], [0, 4]]]])
    ifm = torch.tensor([[[[1, 0], [0, 1]], [[9, 0], [0, 0]]], [[[0, 0], [0, 2]], [[0, 3], [0, 0]]]])
    result = ConvResult(dense, keep[0, 0], None, keep, dense * keep, Counters(4, 2, 2))
    step = Step(node, ifm, result.ofm, None, None, result)
    macs = 2 * 2 * 1 * 2 * 9

    tally = LayerTally("conv", macs, zap=True)
    tally.count(step, 1)
    assert (tally.activations, tally.kept, tally.skipped, tally.wrong) == (8, 2, 2, 1)
    assert tally.executed == 9 * (4 * 1 + 2 * 2)
    assert (tally.loads, tally.loaded) == (16, 4 * (1 + 2))
    evaluation = Evaluation(images=2, layers=[tally])
    assert evaluation.mac_reduction == (144 - 72) / 144
    assert evaluation.load_reduction == 4 / 16

    tally = LayerTally("conv", macs, zap=True)
    tally.count(step, None)
    assert (tally.executed, tally.loads, tally.loaded) == (9 * 2 * (4 + 2), 16, 16)


def test_reductions_on_a_network(zap_bundle: Bundle) -> None:
    """Reductions are counted by hand from the activations that each layer kept and read."""
    predictors = zap_bundle.uniform(MASKS["B"], 0.0)
    executed = macs = loaded = loads = 0
    for step, node, result in conv_steps(FeatureMapPruning(Network(zap_bundle, predictors), 40)):
        if not node.fully_connected:
            _, channels, k_h, k_w = zap_bundle.conv(node).weight.shape
            macs += result.ofm.numel() * channels * k_h * k_w
            loads += step.ifm.numel()
            for ifm, keep in zip(step.ifm, result.keep):
                live = sum(bool((channel.abs() > 40).any()) for channel in ifm)
                executed += int(keep.sum()) * k_h * k_w * live
                loaded += live * ifm[0].numel()
    both = evaluate(zap_bundle, predictors, IMAGES, epsilon=40)
    assert both.mac_reduction == (macs - executed) / macs
    assert both.load_reduction == (loads - loaded) / loads
    zap = evaluate(zap_bundle, predictors, IMAGES)
    assert both.mac_reduction > zap.mac_reduction > 0
