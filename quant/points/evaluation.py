"""Run images through a bundle's network and count what it gets right and what it skips."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from golden.arithmetic import ceil_div
from golden.bundle import Bundle
from golden.layers import Predictor
from golden.manifest import ConvNode
from golden.network import Network, quantise_images
from quant.baselines.feature_map_pruning import FeatureMapPruning
from quant.baselines.value_prediction import ValuePrediction
from quant.data.answers import correct
from quant.data.images import ImageSet
from quant.native.network import NativeNetwork, native_network
from quant.points.accounting import Evaluation, LayerTally
from quant.runtime import processes
from quant.runtime.batch_size import batch_size
from quant.runtime.progress import progress

__all__ = ["evaluate", "run_batch", "run_network"]


def evaluate(
    bundle: Bundle,
    predictors: Mapping[str, Predictor],
    image_set: ImageSet,
    label: str = "evaluating",
    *,
    window: int | None = None,
    epsilon: int | None = None,
) -> Evaluation:
    """Run images through the integer network, with ZAP in the layers that `predictors` names.

    With a `window` and no predictors, the network runs with value prediction instead. With an
    `epsilon`, feature maps are pruned too. `label` is shown with the progress.
    """
    network: Network | NativeNetwork | None = None
    if window is None and epsilon is None:
        network = native_network(bundle, predictors)
    network = network or _network(bundle, predictors, window, epsilon)
    return run_network(network, image_set, label, epsilon=epsilon)


def run_network(
    network: Network | NativeNetwork,
    image_set: ImageSet,
    label: str = "evaluating",
    *,
    epsilon: int | None = None,
) -> Evaluation:
    """Run images through any network that skips; `epsilon` is set if it prunes feature maps.

    If there are several processes (`quant.runtime.processes`), each runs its share, and all return
    the result of all images.
    """
    bundle = network.bundle
    image_set = image_set[processes.share()]
    size = batch_size(bundle)
    batches = progress(image_set.batches(size), ceil_div(len(image_set), size), label)
    parts = (run_batch(network, *batch, epsilon=epsilon) for batch in batches)
    return sum(processes.gathered(sum(parts, Evaluation())), Evaluation())


def run_batch(
    network: Network | NativeNetwork,
    pixels: Tensor,
    labels: Tensor,
    *,
    epsilon: int | None = None,
) -> Evaluation:
    """Run some images, pixels of 0 .. 1 (images, channels, height, width), in this process."""
    bundle = network.bundle
    correct_ones = 0.0
    layers: list[LayerTally] = []
    answers = []
    for step in network.steps(quantise_images(bundle, pixels)):
        if isinstance(step.node, ConvNode) and not step.node.fully_connected:
            name = step.node.name
            macs = bundle.conv(step.node).macs(*step.ifm.shape[2:])
            tally = LayerTally(name, macs, name in network.predictors)
            tally.count(step, epsilon)
            layers.append(tally)
        if step.node.output == bundle.manifest.output:
            given = step.ofm.to(torch.int32)
            correct_ones += correct(given, labels)
            if labels.ndim == 1:
                answers.append((step.ofm.to(torch.int16).flatten(1), labels))
    return Evaluation(len(labels), correct_ones, layers, answers)


def _network(
    bundle: Bundle, predictors: Mapping[str, Predictor], window: int | None, epsilon: int | None
) -> Network:
    assert window is None or not predictors
    network = Network(bundle, predictors) if window is None else ValuePrediction(bundle, window)
    return network if epsilon is None else FeatureMapPruning(network, epsilon)
