"""Random PyTorch networks compute the same as modules, graphs, bundles, ONNX files and on the core.

`make sim-modules` is the whole of it: hundreds of networks. A network that fails there or here is
repeated by the command that is printed beside its seed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from quant.frontend.pytorch import export  # noqa: F401  (it registers the handlers)
from quant.frontend.pytorch.nodes import HANDLERS
from tb.random import module_checks
from tb.random.module_checks import Wrong, check_module
from tb.random.module_layers import LAYERS
from tb.random.modules import random_module
from tb.random.written_module import load_module
from tb.random_modules import check_networks, simulate_networks
from tests.hw.small_configs import STRIPS, TINY

WRITTEN_AS_OTHERS = {
    "constant_pad_nd": "pad",
    "max_pool2d_with_indices": "max_pool2d",
    "native_channel_shuffle": "channel_shuffle",
    "batch_norm": "_native_batch_norm_legit_no_training",
}
"""Functions that torch.export writes as others, or that another becomes in some networks only."""

DECOMPOSED = {"alias", "contiguous", "flatten", "reshape"}
"""Functions that torch.export always writes as views, detached tensors, or nothing."""

SPELLED = {"pixel_shuffle": "PixelShuffle(", "split_with_sizes": "split(["}
"""A function -> how networks spell it, where that is not its name."""

silent = lambda *position: None  # noqa: E731


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the texts of failed networks out of the repository."""
    monkeypatch.setattr("tb.random_modules._FAILED", tmp_path)
    torch.set_num_threads(1)


def handled() -> set[str]:
    """The functions of PyTorch that the front end lowers, by their names in ATen."""
    names = {target._schema.name.removeprefix("aten::") for target in HANDLERS}
    return {name for name in names if not name.startswith("_")} | {"batch_norm"}


def written() -> set[str]:
    return {function for kind in LAYERS for function in kind.functions.split()}


@contextmanager
def recorded() -> Iterator[set[str]]:
    """Record the functions whose handlers are called."""
    called: set[str] = set()
    handlers = dict(HANDLERS)

    def recording(target: Any, handler: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            called.add(target._schema.name.removeprefix("aten::"))
            return handler(*arguments)

        return run

    HANDLERS.update({target: recording(target, handlers[target]) for target in handlers})
    try:
        yield called
    finally:
        HANDLERS.update(handlers)


def test_everything_that_is_lowered_is_written_in_random_networks() -> None:
    """A new handler needs an entry in `tb.random.module_layers`."""
    assert handled() - set(WRITTEN_AS_OTHERS) | {"batch_norm"} <= written()


def test_a_seed_gives_the_same_network_and_its_first_layers() -> None:
    network = random_module(7)
    assert random_module(7).text == network.text
    assert random_module(8).text != network.text
    shorter = random_module(7, 2).text
    body = shorter[: shorter.index("    def forward")].splitlines()
    assert set(body[:8]) <= set(network.text.splitlines())
    load_module(shorter)


def test_networks_are_checked_before_the_core() -> None:
    tally = check_networks(range(40, 46), silent)
    assert tally.failures == {}
    assert list(tally.passed) == list(range(40, 46))


def test_a_graph_that_computes_something_else_is_found_and_made_smaller(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lower = module_checks.lower_checked

    def wrong(module: Any, images: Any) -> Any:
        graph = lower(module, images)
        graph.layers[0].bias[0] += 0.01  # type: ignore[union-attr]
        return graph

    monkeypatch.setattr(module_checks, "lower_checked", wrong)
    tally = check_networks(range(41, 42), silent)
    assert not tally.passed
    assert "the lowered graph differs from the network by" in tally.failures[41]
    assert len((tmp_path / "41.py").read_text()) < len(random_module(41).text)


def test_a_scale_that_is_not_the_tensors_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    make = module_checks.quantise

    def wrong(graph: Any, scales: Any, *arguments: Any, **options: Any) -> Any:
        bundle = make(graph, scales, *arguments, **options)
        name = graph.layers[0].name
        activations = dict(bundle.manifest.activations)
        changed = activations[name].model_copy(update={"scale": activations[name].scale * 1.2})
        activations[name] = changed
        update = {"activations": activations}
        return replace(bundle, manifest=bundle.manifest.model_copy(update=update))

    monkeypatch.setattr(module_checks, "quantise", wrong)
    with pytest.raises(Wrong, match=r"differs by .* of its scale more than by rounding"):
        check_module(random_module(41))


@pytest.mark.second
def test_random_networks_reach_every_handler() -> None:
    """Some networks, and for each function that they lack the first later one whose text has it."""
    declared = written() - DECOMPOSED - {"dropout", "batch_norm"}  # neither is exported as such
    declared |= {"_native_batch_norm_legit_no_training"}
    texts = {seed: random_module(seed).text for seed in range(1040, 2000)}
    with recorded() as called:
        tally = check_networks(range(1000, 1040), silent)
        for name in sorted(declared - called):
            spelled = SPELLED.get(name, f"{name}(")
            seeds = (seed for seed, text in texts.items() if spelled in text)
            for seed in itertools.islice(seeds, 3):
                if name not in called:
                    found = check_networks(range(seed, seed + 1), silent)
                    tally.failures |= found.failures
    assert tally.failures == {}
    assert tally.from_onnx > 3
    assert declared <= called


@pytest.mark.sim
@pytest.mark.second
@pytest.mark.parametrize("config", [TINY, STRIPS], ids=lambda config: config.name)
def test_random_networks_run_on_the_core(config: Any) -> None:
    first = 2000 if config is TINY else 2020
    tally = check_networks(range(first, first + 15), silent)
    assert tally.failures == {}
    failures, runs, compared = simulate_networks(tally.passed, 12, config, "verilator", silent)
    assert failures == {}
    assert runs >= 8  # the others are too large for the configuration
    assert compared > 1000
