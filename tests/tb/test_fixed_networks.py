"""Every counter of every layer, cycles included, stays as it was.

This guards changes that are not meant to alter the RTL's behaviour. `tests.tb.fixed_networks`
describes the networks and images.
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
