"""MobileNetV2's depthwise layers take at most half the cycles of its pointwise ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.depthwise import kinds, mobilenet_v2
from compiler.build import compile_bundle
from compiler.costs import LATENCY
from compiler.cycles import layer_cycles
from golden.manifest import ConvNode
from hw.contract.config import PRESETS

COUNTED = Path("docs/results/bench/depthwise.json")
"""What `python -m bench.depthwise --simulate --out FILE` counted at full size."""


@pytest.fixture(scope="module")
def model() -> dict[str, float]:
    program = compile_bundle(mobilenet_v2(224), PRESETS["default"], keep=True)
    return {name: c.elapsed for name, c in layer_cycles(program, latency=LATENCY).items()}


def test_the_network_has_the_published_size() -> None:
    """Sandler et al. 2018, table 4: 300 million MACs, those of the classifier included."""
    bundle = mobilenet_v2(224)
    macs = {}
    for node in bundle.manifest.layers:
        if isinstance(node, ConvNode) and not node.fully_connected:
            size = bundle.manifest.activations[node.input].shape[1:]
            macs[node.name] = bundle.conv(node).macs(*size)
    assert sum(macs.values()) + 1280 * 1000 == pytest.approx(300e6, rel=0.01)
    assert sum(name.startswith("depthwise") for name in macs) == 17


def test_depthwise_layers_take_at_most_half_the_cycles_of_pointwise_ones(
    model: dict[str, float],
) -> None:
    counted = json.loads(COUNTED.read_text())
    assert (counted["config"], counted["size"]) == ("default", 224)
    for cycles in (model, counted["cycles"]):
        depthwise, pointwise = kinds(cycles)
        assert depthwise <= pointwise / 2


def test_the_model_is_within_three_percent_of_what_was_counted(model: dict[str, float]) -> None:
    """For each depthwise layer, and for all pointwise layers together."""
    counted = json.loads(COUNTED.read_text())["cycles"]
    assert model.keys() == counted.keys()
    for name, cycles in counted.items():
        if name.startswith("depthwise"):
            assert model[name] == pytest.approx(cycles, rel=0.03), name
    for estimate, cycles in zip(kinds(model), kinds(counted), strict=True):
        assert estimate == pytest.approx(cycles, rel=0.03)
