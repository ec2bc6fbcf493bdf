"""The core takes as many cycles as it did, and every counter of every layer counts the same.

This guards changes that are not meant to touch the RTL's behaviour. `tests.tb.fixed_networks` says
which networks, on which images, and why.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.measure import load_measurement
from quant.runtime.progress import reporting
from tests.tb.fixed_networks import COUNTED, FIXED_NETWORKS, FixedNetwork, count

MEASURED = Path("docs/results/bench/counted")
"""Counts of the real networks, without ZAP and with it."""


@pytest.mark.sim
@pytest.mark.parametrize(
    "network",
    [
        pytest.param(
            network,
            id=network.name,
            marks=[] if network.name == "digits" else pytest.mark.second,
        )
        for network in FIXED_NETWORKS
    ],
)
def test_every_counter_of_every_layer_is_as_it_was(network: FixedNetwork) -> None:
    measured = load_measurement(MEASURED / f"{network.name}-{network.config.name}.json")
    assert measured.config == network.config
    with reporting() as report:
        off, on = count(network, report)
    assert off == {layer.name: layer.off for layer in measured.layers}
    assert on == json.loads(COUNTED.read_text())[network.name]
    assert sum(counts["skipped"] for counts in on.values()) > 0
