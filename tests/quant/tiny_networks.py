"""Tiny networks and images that many tests share."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golden.bundle import Bundle
from quant.data.images import ImageSet
from quant.data.registry import load
from quant.frontend.graph import Graph
from quant.frontend.lowering import lower
from quant.networks.cifar_resnet import OptionA
from quant.networks.model import Model, Recipe
from quant.networks.registry import MODELS
from quant.quantise.calibration import activation_scales
from quant.quantise.integer_network import quantise
from quant.training.trainer import train

torch.set_num_threads(1)  # on tensors so small, threads would only wait for each other

SHAPE = (3, 12, 11)
RECIPE = Recipe(
    epochs=2,
    batch=64,
    optimiser="adamw",
    learning_rate=4e-3,
    weight_decay=0.01,
    shift=1,
    flip=False,
    fine_tuning_rate=0.01,
)
MODEL = Model(
    lambda classes: Tiny(), "none", mean=(0.5,) * 3, std=(0.3,) * 3, sigma=0.1, recipe=RECIPE
)


class Tiny(nn.Module):
    """A network with one layer of each kind that quant lowers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 8, 5, stride=2, padding=2)
        self.bn2 = nn.BatchNorm2d(8)
        self.down = nn.Conv2d(6, 8, 1, stride=2)
        self.conv3 = nn.Conv2d(8, 8, 3, padding=1)
        self.conv4 = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
        self.bn4 = nn.BatchNorm2d(16)
        self.option_a = OptionA(2, 4)
        self.pool = nn.MaxPool2d(2, 1)
        self.dropout = nn.Dropout()
        self.hidden = nn.Linear(16 * 2 * 2, 12)
        self.fc = nn.Linear(12, 5)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(x)))
        x = self.relu(self.conv3(y) + self.down(x))
        x = torch.relu(self.option_a(x) + self.bn4(self.conv4(x)))
        x = self.dropout(torch.flatten(self.pool(x), 1))
        return self.fc(self.relu(self.hidden(x)))


class Branches(nn.Module):
    """A network with branches that meet in concats; layers without weights are functions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.left = nn.Conv2d(8, 6, 3, padding=1)
        self.narrow = nn.Conv2d(14, 4, 1)
        self.wide = nn.Conv2d(14, 5, 3, padding=1)
        self.last = nn.Conv2d(9, 12, 3, padding=1)
        self.fc = nn.Linear(12 * 3, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = torch.cat([F.relu(self.left(x)), F.max_pool2d(x, 3, stride=1, padding=1)], 1)
        x = F.relu(F.max_pool2d(torch.cat((self.narrow(x), self.wide(x)), dim=1), 2))
        x = F.adaptive_avg_pool2d(F.avg_pool2d(F.relu(self.last(x)), (2, 1)), (3, 1))
        x = F.dropout(x, training=self.training)
        return self.fc(x.view(x.size(0), -1))


def branches_module() -> Branches:
    """Return the network with branches, in eval mode."""
    torch.manual_seed(0)
    return Branches().eval()


def randomise_batch_norms(module: nn.Module) -> None:
    """Give every BatchNorm statistics and gains as after training; some gains are negative."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            nn.init.normal_(part.running_mean, std=0.3)
            nn.init.uniform_(part.running_var, 0.5, 2)
            nn.init.uniform_(part.weight, -1, 2)
            nn.init.normal_(part.bias, std=0.3)


def tiny_module(seed: int = 0) -> Tiny:
    """Return the tiny network with random weights and BatchNorm statistics, in eval mode."""
    torch.manual_seed(seed)
    module = Tiny()
    randomise_batch_norms(module)
    return module.eval()


def images(count: int, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> ImageSet:
    """Make images of blurred noise, whose neighbours are alike as in pictures; all labels are 0."""
    noise = torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))
    blurred = nn.functional.avg_pool2d(noise, 5, 1, padding=2, count_include_pad=False)
    pixels = ((blurred - 0.5) * 3 + 0.5).clamp(0, 1)
    return ImageSet((pixels * 255).to(torch.uint8), torch.zeros(count, dtype=torch.int64))


def quickly_trained(epochs: int, calibration: int) -> tuple[Graph, Bundle]:
    """Return the digits network, trained for a few epochs and quantised, without predictors.

    Its scales are from the first `calibration` training images.
    """
    model, digits = MODELS["digits"], load("digits", None)
    torch.manual_seed(0)
    module = model.build(10)
    train(model, module, digits.train, replace(model.recipe, epochs=epochs), seed=0, device="cpu")
    graph = lower(module, digits.shape)
    few = digits.train.first(calibration)
    scales = activation_scales(graph, model, [model.normalise(few.pixels(slice(None)))])
    return graph, quantise(graph, scales, model, name="digits", classes=digits.classes)


def tiny_bundle(module: nn.Module, image_set: ImageSet) -> tuple[Graph, Bundle]:
    """Lower and quantise a module that takes images of the tiny shape."""
    graph = lower(module, SHAPE)
    scales = activation_scales(graph, MODEL, [MODEL.normalise(image_set.pixels(slice(None)))])
    classes = [str(n) for n in range(graph.shapes[graph.output][0])]
    return graph, quantise(graph, scales, MODEL, name="tiny", classes=classes)
