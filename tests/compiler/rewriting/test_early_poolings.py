"""Poolings behind a concatenation move into its parts: the same numbers, no step of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from compiler.build import compile_bundle
from compiler.costs import NetworkCosts
from compiler.lowering.steps import network_steps
from compiler.rewriting import rewrites
from compiler.rewriting.early_poolings import with_early_poolings
from golden.bundle import Bundle, check
from golden.manifest import ConcatNode, PoolNode
from golden.network import Network, quantise_images
from hw.contract.config import PRESETS
from tests.quant.tiny_networks import SHAPE, Branches, images, tiny_bundle

IMAGES = images(6)


class Fire(nn.Module):
    """Two branches that are concatenated and pooled, and what the tests vary."""

    def __init__(
        self,
        pool: nn.Module,
        *,
        nested: bool = False,
        read_twice: bool = False,
        inputs: int = 6,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(SHAPE[0], 8, 3, padding=1)
        self.left, self.right = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 5, 3, padding=1)
        self.third = nn.Conv2d(8, 4, 1)
        self.pool = pool
        self.nested, self.read_twice = nested, read_twice
        channels = 8 + 5 + 4 * nested
        self.last = nn.Conv2d(channels, 6, 1)
        self.whole = nn.Conv2d(channels, 6, 1)
        self.fc = nn.Linear(inputs * (2 if read_twice else 1), 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        joined = torch.cat([torch.relu(self.left(x)), torch.relu(self.right(x))], 1)
        if self.nested:
            joined = torch.cat([joined, torch.relu(self.third(x))], 1)
        found = torch.relu(self.last(self.pool(joined))).mean((2, 3))
        if self.read_twice:
            found = torch.cat([found, torch.relu(self.whole(joined)).mean((2, 3))], 1)
        return self.fc(found)


def quantised(module: nn.Module) -> Bundle:
    torch.manual_seed(1)
    _, bundle = tiny_bundle(module.eval(), IMAGES)
    return bundle


def outputs(bundle: Bundle) -> dict[str, torch.Tensor]:
    pixels = IMAGES.pixels(slice(None))
    return Network(bundle).outputs(quantise_images(bundle, pixels))


POOLS = {
    "max, overlapping": nn.MaxPool2d(3, 2, ceil_mode=True),
    "max, padded": nn.MaxPool2d(3, 1, padding=1),
    "average": nn.AvgPool2d(2),
}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("pool", POOLS)
def test_a_pooling_moves_in_front_of_a_concatenation(pool: str, nested: bool) -> None:
    bundle = quantised(Fire(POOLS[pool], nested=nested))
    run = with_early_poolings(bundle)
    before, after = outputs(bundle), outputs(run)
    assert before.keys() == after.keys()
    for name, output in before.items():
        assert output.unique().numel() > 2
        assert torch.equal(after[name], output)
    alone = [step.name for step in network_steps(run) if step.macs == 0]
    assert len([step for step in network_steps(bundle) if step.macs == 0]) == 1
    assert alone == []
    check(run, Path("moved"))


def test_a_pooling_that_moved_costs_less(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = quantised(Fire(POOLS["max, overlapping"]))
    config = PRESETS["small"]
    program = compile_bundle(bundle, config)
    assert [layer.name for layer in program.layers if layer.macs == 0] == []
    costs = NetworkCosts(bundle, config)
    assert [layer.name for layer in program.layers] == list(costs.cycles())
    moved = sum(layer.elapsed for layer in costs.cycles().values())
    monkeypatch.setattr(rewrites, "with_early_poolings", lambda network: network)
    left = NetworkCosts(bundle, config).cycles()
    assert len(left) == len(program.layers) + 1
    assert moved < sum(layer.elapsed for layer in left.values())


class Shared(Fire):
    """One of the branches is read by another layer too."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        left = torch.relu(self.left(x))
        joined = torch.cat([left, torch.relu(self.right(x))], 1)
        found = torch.relu(self.last(self.pool(joined))).mean((2, 3))
        return self.fc(torch.cat([found, torch.relu(self.third(left)).mean((2, 3))], 1))


@pytest.mark.parametrize(
    "module",
    [Fire(POOLS["average"], read_twice=True), Shared(POOLS["average"], inputs=10)],
    ids=["what is pooled is read twice", "a part is read twice"],
)
def test_a_pooling_stays_where_its_parts_could_not_pool(module: nn.Module) -> None:
    bundle = quantised(module)
    joined = {node.output for node in bundle.manifest.layers if isinstance(node, ConcatNode)}
    pooled = [node.input for node in bundle.manifest.layers if isinstance(node, PoolNode)]
    assert joined & set(pooled)
    assert with_early_poolings(bundle) is bundle


def test_poolings_move_one_by_one() -> None:
    """The network's second concatenation is of convolutions, its first of a pooling too."""
    bundle = quantised(Branches())
    run = with_early_poolings(bundle)
    before, after = outputs(bundle), outputs(run)
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], output) for name, output in before.items())
    counts = [
        sum(isinstance(node, PoolNode) for node in network.manifest.layers)
        for network in (bundle, run)
    ]
    assert counts[1] == counts[0] + 1


def test_a_network_that_returns_what_is_pooled_keeps_it() -> None:
    bundle = quantised(Fire(POOLS["average"]))
    (concat,) = (node for node in bundle.manifest.layers if isinstance(node, ConcatNode))
    returned = bundle.manifest.model_copy(update={"other_outputs": [concat.output]})
    bundle = Bundle(returned, bundle.tensors)
    assert with_early_poolings(bundle) is bundle
