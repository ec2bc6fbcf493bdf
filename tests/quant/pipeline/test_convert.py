"""A module and arrays of images become a bundle, with and without labels."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from golden.bundle import Bundle, check
from golden.errors import UserError
from golden.network import Network, quantise_images
from quant.data.images import ImageSet
from quant.frontend.graph import ConvLayer
from quant.networks.own_models import own_model
from quant.pipeline.convert import Conversion, convert
from quant.pipeline.quantised_network import ResultNoise, quantised_graph, result_noise
from quant.points.accounting import Evaluation
from tests.quant.tiny_networks import images

IMAGES = images(60, (1, 10, 9)).images
SEED = 3


def network(scale: float = 1.0) -> nn.Module:
    """Return a network in training mode, which takes pixels of 0 .. `scale`."""
    torch.manual_seed(SEED)
    first = nn.Conv2d(1, 6, 3, padding=1)
    with torch.no_grad():
        first.weight /= scale
    parts = [first, nn.ReLU(), nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6), nn.ReLU()]
    return nn.Sequential(*parts, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(6 * 4 * 3, 4))


def converted(module: nn.Module, *arguments: Any, **options: Any) -> Bundle:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return convert(module, *arguments, zap_epochs=1, **options)


def test_a_module_and_images_become_a_bundle_that_can_be_saved(tmp_path: Any) -> None:
    module = network()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    labels = np.arange(60) % 4
    bundle = converted(module, IMAGES.numpy(), labels, name="my net", sigma={"2": 0.05})
    check(bundle, tmp_path)
    bundle.save(tmp_path / "bundle")
    assert bundle.manifest.name == "my-net"
    assert bundle.manifest.classes == list("0123")
    (point,) = bundle.manifest.operating_points
    assert {name: choice.sigma for name, choice in point.layers.items()} == {"2": 0.05}
    assert point.measured is not None
    assert point.measured.images == 12
    assert module.training
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    again = converted(network(), IMAGES, torch.from_numpy(labels), name="my net", sigma={"2": 0.05})
    assert again.manifest == bundle.manifest
    assert all(torch.equal(again.tensors[name], bundle.tensors[name]) for name in again.tensors)


def test_without_labels_agreement_with_the_module_is_measured() -> None:
    bundle = converted(network(), IMAGES, test=(IMAGES[:20], None), sigma=float("-inf"))
    point = bundle.operating_point("default")
    integers = Network(bundle)(quantise_images(bundle, IMAGES[:20] / 255)).argmax(1)
    floats = network().eval()(IMAGES[:20] / 255).argmax(1)
    assert point.measured is not None
    assert point.measured.top1 == 100 * float((integers == floats).double().mean())
    assert point.measured.top1 > 80
    assert point.measured.drop == 0


def test_a_network_that_takes_pixels_up_to_255() -> None:
    plain = converted(network(), IMAGES)
    bundle = converted(network(scale=255), IMAGES, std=1 / 255)
    assert bundle.manifest.activations["input"].scale == pytest.approx(1)
    for name in ("layers.0.weight", "layers.7.weight"):
        assert torch.equal(bundle.tensors[name], plain.tensors[name])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": IMAGES / 255}, "images are float32; give pixels of 0 .. 255 as uint8"),
        ({"labels": np.arange(60) % 5}, "images has 5 classes, the network has 4"),
        ({"classes": list("ab"), "labels": np.arange(60) % 2}, "images has 2 classes, the network"),
        ({"mean": (0.1, 0.2)}, "mean and std: 2 numbers for images of 1 channels"),
        ({"pattern": "Q"}, "unknown pattern 'Q'"),
        ({"sigma": {"9": 1.0}}, "no ZAP in a layer '9'; there is in 2"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict[str, Any], message: str) -> None:
    arguments = {"images": IMAGES, **arguments}
    with pytest.raises(UserError, match=re.escape(message)):
        convert(network(), **arguments)


@pytest.fixture
def conversion() -> Callable[[float, float, bool], Conversion]:
    """Return a function of the accuracies of int8 and of ZAP, and of whether there are labels."""
    bundle, clean = converted(network(), IMAGES), ResultNoise(30, 40)

    def make(dense: float, sparse: float, labelled: bool) -> Conversion:
        plain = Conversion(bundle, {}, 1, 1, labelled, 100, clean, Evaluation(), Evaluation())
        of_thousand = [Evaluation(1000, round(10 * top1)) for top1 in (dense, sparse)]
        return replace(plain, dense=of_thousand[0], sparse=of_thousand[1])

    return make


def test_an_operating_point_that_loses_much_is_warned_of(
    conversion: Callable[[float, float, bool], Conversion],
) -> None:
    for dense, sparse, labelled, loud in (
        (90, 87, True, False),
        (90, 86.9, True, True),
        (99, 96, False, False),
        (96, 94.9, False, True),
    ):
        texts = [t for t in conversion(dense, sparse, labelled).warnings if "int8 loses" not in t]
        assert len(texts) == loud
        for text in texts:
            assert "--sigma" in text
            assert "quant.choose" in text


def test_a_quantisation_that_loses_much_is_warned_of(
    conversion: Callable[[float, float, bool], Conversion],
) -> None:
    for dense, labelled, message in (
        (98, True, None),
        (97.9, True, "int8 loses 2.1 percentage points against float"),
        (97.9, False, "int8 loses the class of the float network in 2.1 % of the images"),
    ):
        texts = conversion(dense, dense, labelled).warnings
        assert len(texts) == (message is not None)
        assert all(text.startswith(str(message)) for text in texts)
    few = replace(conversion(75, 75, True), dense=Evaluation(12, 9), sparse=Evaluation(12, 9))
    assert few.warnings == []
    noisy = replace(few, noise=ResultNoise(9.9, 13))
    assert noisy.warnings == []
    (text,) = (t for t in replace(noisy, labelled=False).warnings if "sigma" not in t)
    assert text.startswith(
        "int8 gives other results than float: their signal-to-noise ratio is 9.9"
    )
    amplifies = replace(noisy, labelled=False, noise=ResultNoise(9.9, 12.8))
    assert all("sigma" in text for text in amplifies.warnings)


def test_the_noise_of_a_result_is_its_distance_from_the_float_result() -> None:
    module, model = network().eval(), own_model(network(), (0.5,), (0.25,))
    images = ImageSet(IMAGES, torch.zeros(60, dtype=torch.int64))
    bundle, graph = quantised_graph(module, model, images, name="net", classes=list("abcd"))
    noise = result_noise(bundle, graph, model, images)
    assert 25 < noise.int8 < 60
    assert 25 < noise.noisy_images < 50
    last = f"layers.{bundle.manifest.layers[-1].name}.multiplier"
    halved = Bundle(bundle.manifest, {**bundle.tensors, last: bundle.tensors[last] // 2})
    halved_noise = result_noise(halved, graph, model, images)
    assert halved_noise.int8 == pytest.approx(6, abs=0.5)
    assert halved_noise.noisy_images == noise.noisy_images
    with torch.no_grad():
        layer = graph.layer(graph.output)
        assert isinstance(layer, ConvLayer)
        layer.weight.zero_()
    assert result_noise(bundle, graph, model, images).noisy_images == 200


class Bright(nn.Module):
    """Tells bright images from dark ones by the sum of blurred pixels, which skipping halves."""

    def __init__(self) -> None:
        super().__init__()
        self.blur1 = nn.Conv2d(1, 2, 3, padding=1)
        self.blur2 = nn.Conv2d(2, 2, 1)
        self.fc = nn.Linear(2, 2)
        with torch.no_grad():
            for part, weight in ((self.blur1, 1 / 9), (self.blur2, 1 / 2)):
                part.weight.fill_(weight)
                nn.init.zeros_(part.bias)  # type: ignore[arg-type]
            self.fc.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
            self.fc.bias.copy_(torch.tensor([1.2, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blur2(self.blur1(x).relu()).relu().mean((2, 3)))


def test_a_program_is_warned_of_it_too() -> None:
    bright = torch.full((20, 1, 10, 10), 230, dtype=torch.uint8)
    with pytest.warns(UserWarning, match=r"operating point default .*--sigma"):
        convert(Bright(), bright, sigma=float("inf"), zap_epochs=1)
