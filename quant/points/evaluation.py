"""Run images through a bundle's network and count what it gets right and what it skips."""

from __future__ import annotations

from collections.abc import Mapping

from golden.arithmetic import ceil_div
from golden.bundle import Bundle
from golden.layers import Predictor
from golden.manifest import ConvNode
from golden.network import Network, quantise_images
from quant.baselines.feature_map_pruning import FeatureMapPruning
from quant.baselines.value_prediction import ValuePrediction
from quant.data.answers import correct
from quant.data.images import ImageSet
from quant.points.accounting import Evaluation, LayerTally
from quant.runtime import processes
from quant.runtime.batch_size import batch_size
from quant.runtime.progress import progress

__all__ = ["evaluate", "run_network"]


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
    return run_network(
        _network(bundle, predictors, window, epsilon), image_set, label, epsilon=epsilon
    )


def run_network(
    network: Network, image_set: ImageSet, label: str = "evaluating", *, epsilon: int | None = None
) -> Evaluation:
    """Run images through any network that skips; `epsilon` is set if it prunes feature maps.

    If there are several processes (`quant.runtime.processes`), each runs its share, and all return
    the result of all images.
    """
    bundle = network.bundle
    image_set = image_set[processes.share()]
    result = Evaluation()
    tallies: dict[str, LayerTally] = {}
    size = batch_size(bundle)
    batches = ceil_div(len(image_set), size)
    for pixels, labels in progress(image_set.batches(size), batches, label):
        for step in network.steps(quantise_images(bundle, pixels)):
            if isinstance(step.node, ConvNode) and not step.node.fully_connected:
                name = step.node.name
                if name not in tallies:
                    macs = bundle.conv(step.node).macs(*step.ifm.shape[2:])
                    tallies[name] = LayerTally(name, macs, step.predictor is not None)
                tallies[name].count(step, epsilon)
            if step.node.output == bundle.manifest.output:
                result.correct += correct(step.ofm, labels)
        result.images += len(labels)
    result.layers = list(tallies.values())
    return sum(processes.gathered(result), Evaluation())


def _network(
    bundle: Bundle, predictors: Mapping[str, Predictor], window: int | None, epsilon: int | None
) -> Network:
    assert window is None or not predictors
    network = Network(bundle, predictors) if window is None else ValuePrediction(bundle, window)
    return network if epsilon is None else FeatureMapPruning(network, epsilon)
