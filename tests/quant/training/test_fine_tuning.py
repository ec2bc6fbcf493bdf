"""Fine-tuning trains exactly the network that the golden model runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from golden.bundle import Bundle, check
from golden.layers import Predictor
from golden.network import Network, quantise_images
from golden.pattern import MASKS
from quant.data.images import ImageSet
from quant.training.fine_tuning import _Network, fine_tune
from quant.zap.predictor import Site
from quant.zap.quantisation import add_zaps
from quant.zap.training import train_zaps
from tests.quant.tiny_networks import RECIPE, branches_module, images, tiny_bundle, tiny_module


@pytest.fixture(scope="module", params=[tiny_module, branches_module])
def bundle(request: pytest.FixtureRequest) -> Bundle:
    image_set = images(64)
    graph, bundle = tiny_bundle(request.param(), image_set)
    sites = [Site(layer.name, MASKS["B"]) for layer in graph.zap_sites()]
    return add_zaps(bundle, train_zaps(bundle, sites, image_set, epochs=2, seed=0), image_set)


@pytest.fixture(scope="module")
def predictors(bundle: Bundle) -> dict[str, Predictor]:
    return bundle.uniform(MASKS["B"], 0.4)


def test_a_forward_pass_is_the_golden_network(
    bundle: Bundle, predictors: dict[str, Predictor]
) -> None:
    inputs = quantise_images(bundle, images(16, seed=1).pixels(slice(None)))
    golden = Network(bundle, predictors)(inputs)
    scale = bundle.manifest.activations[bundle.manifest.output].scale
    logits = _Network(bundle, predictors, {})(inputs.float()) / scale
    # The logits are the one tensor that fine-tuning does not round.
    assert torch.equal((logits + 0.5).floor().clamp(-128, 127).int(), golden)
    assert any(
        step.result.counters.skipped
        for step in Network(bundle, predictors).steps(inputs)
        if step.predictor is not None and step.result is not None
    )


def test_dropout_is_for_training_alone(bundle: Bundle, predictors: dict[str, Predictor]) -> None:
    inputs = quantise_images(bundle, images(8, seed=1).pixels(slice(None))).float()
    network = _Network(bundle, predictors, {bundle.manifest.layers[-1].name: 0.5})
    torch.manual_seed(0)
    assert not torch.equal(network(inputs), network(inputs))
    network.eval()
    assert torch.equal(network(inputs), _Network(bundle, predictors, {})(inputs))


def test_a_seed_decides_all(bundle: Bundle, predictors: dict[str, Predictor]) -> None:
    dropout = {bundle.manifest.layers[-1].name: 0.5}

    def tuned(seed: int, dropout: dict[str, float]) -> torch.Tensor:
        network = fine_tune(
            bundle, predictors, images(64), RECIPE, dropout=dropout, epochs=1, seed=seed
        )
        return network.tensors[f"layers.{bundle.manifest.layers[-1].name}.weight"]

    assert torch.equal(tuned(3, dropout), tuned(3, dropout))
    assert not torch.equal(tuned(3, dropout), tuned(4, dropout))
    assert not torch.equal(tuned(3, dropout), tuned(3, {}))


def test_without_steps_nothing_changes(bundle: Bundle, predictors: dict[str, Predictor]) -> None:
    same = fine_tune(bundle, predictors, images(64), RECIPE, epochs=0, seed=0)
    assert all(torch.equal(same.tensors[name], bundle.tensors[name]) for name in bundle.tensors)


def test_it_learns_and_changes_weights_and_biases_alone(
    bundle: Bundle, predictors: dict[str, Predictor]
) -> None:
    image_set = images(256)
    inputs = quantise_images(bundle, image_set.pixels(slice(None)))
    image_set = ImageSet(image_set.images, (Network(bundle)(inputs).argmax(1) + 1) % 5)  # all wrong
    tuned = fine_tune(bundle, predictors, image_set, RECIPE, epochs=10, seed=0)
    check(tuned, Path("tuned"))
    changed = {n for n in bundle.tensors if not torch.equal(tuned.tensors[n], bundle.tensors[n])}
    assert {name.rpartition(".")[2] for name in changed} == {"weight", "bias"}

    def correct(network: Bundle) -> int:
        return int((Network(network, predictors)(inputs).argmax(1) == image_set.labels).sum())

    assert correct(tuned) > 200 > correct(bundle)
