"""Numbers in the documentation are those of the committed files."""

import json
import re
from typing import Any

import pytest

from compiler.costs import NetworkCosts
from hw.contract.config import PRESETS
from quant.pipeline.shaped_network import shaped_network
from tests.docs.pages import ROOT, page

_NETWORKS = {
    "digits": "digits",
    "ResNet-20": "resnet20",
    "AlexNet at half width": "alexnet-cifar-half",
    "VGG-16 at quarter width": "vgg16-cifar-quarter",
    "ResNet-18, 224": "resnet18",
    "AlexNet, 224": "alexnet",
    "VGG-16, 224": "vgg16",
}
"""How the beginning of a row names a network -> its name in the results."""

Summary = dict[str, dict[str, Any]]
"""Name of a network -> its row in the summary."""


def _read(name: str) -> Any:
    return json.loads((ROOT / "docs/results" / name).read_text())


def _network(cell: str) -> str:
    return next(name for start, name in _NETWORKS.items() if cell.startswith(start))


def _number(cell: str) -> float:
    found = re.search(r"-?[\d,]*\.?\d+", cell)
    assert found, cell
    return float(found[0].replace(",", ""))


def _same(cell: str, value: float) -> None:
    """The cell shows the value, rounded to the digits that it has."""
    decimals = len(cell.partition(".")[2].rstrip("% MHz"))
    assert abs(_number(cell) - value) <= 0.5001 * 10**-decimals, f"{cell} is not {value}"


@pytest.fixture(scope="module")
def summary() -> Summary:
    return {row["network"]: row for row in _read("bench/summary.json") if row["layer"] is None}


def test_whole_networks(summary: Summary) -> None:
    first, second = (
        table for table in page("docs/results.md").tables if table.heading == "Whole networks"
    )
    assert len(first.rows) == len(second.rows) == len(summary)
    for name, off, on, gain, of_convolutions, rate_off, rate_on in first.rows:
        row = summary[_network(name)]
        whole = row["whole_network"]
        _same(off, row["all_layers_off"])
        _same(on, row["all_layers_on"])
        _same(gain, row["all_layers_off"] / row["all_layers_on"])
        _same(of_convolutions, row["speed_up"])
        _same(rate_off, whole["frames_per_second_off"])
        _same(rate_on, whole["frames_per_second_on"])
    for name, dsps, off, on, computed, used, of_convolutions, energy in second.rows:
        row = summary[_network(name)]
        whole = row["whole_network"]
        _same(dsps, whole["dsp"])
        _same(off, whole["macs_per_dsp_off"])
        _same(on, whole["macs_per_dsp_on"])
        _same(computed, whole["macs_per_dsp_on_computed"])
        _same(used, whole["utilisation"])
        _same(of_convolutions, row["utilisation"])
        _same(energy, sum(whole["energy_on_uj"].values()) / sum(whole["energy_off_uj"].values()))


def test_rates_are_at_the_clocks_that_were_placed(summary: Summary) -> None:
    files = {"small": "fpga/ecp5-25-small.json", "default": "fpga/ecp5-85-default.json"}
    for row in summary.values():
        placed, whole = _read(files[row["config"]]), row["whole_network"]
        assert whole["clock_mhz"] == placed["fmax_median_mhz"]
        assert whole["dsp"] == placed["dsp"]
        for which in ("off", "on"):
            rate = placed["fmax_median_mhz"] * 1e6 / row[f"all_layers_{which}"]
            assert whole[f"frames_per_second_{which}"] == round(rate, 2)


def test_several_cores() -> None:
    measured = _read("bench/cores.json")
    rows = page("docs/results.md").table("Several cores").rows
    assert len(rows) == len(measured)
    for cells, row in zip(rows, measured, strict=True):
        name, cores, bits, point, busy, alone, together, gain, expected = cells
        assert (name, int(cores), int(bits)) == (row["network"], row["cores"], row["memory_bits"])
        assert point == f"`{row['point']}`"
        assert row["differences"] == 0
        _same(busy, 100 * row["port_share"])
        _same(alone, row["alone"] / row["cores"])
        _same(together, row["together"])
        _same(gain, row["alone"] / row["together"])
        _same(expected, row["expected"])


def test_several_images_at_a_time() -> None:
    rows = {(row["network"], row["images"]): row for row in _read("bench/batches.json")}
    table = page("docs/results.md").table("Several images at a time")
    assert len(table.rows) == len(rows)
    for name, images, off, on, counted, rate, left_out in table.rows:
        row = rows[_network(name), int(images)]
        _same(off, row["off"])
        _same(on, row["on"])
        assert (counted == "") == (row["counted_on"] is None)
        if counted:
            _same(counted, row["counted_on"])
            assert abs(row["on"] / row["counted_on"] - 1) <= 0.03
        _same(rate, row["images_a_second"])
        _same(left_out, len(row["left_out"]))


def test_small_networks() -> None:
    models = {"ResNet-8": "examples/networks/mlperf_tiny.py:ResNet8", "ResNet-20": "resnet20"}
    for name, core, cycles, used in page("docs/results.md").table("Small networks").rows:
        config = PRESETS[core.strip("`")]
        costs = NetworkCosts(shaped_network(models[name], (3, 32, 32), 10), config)
        total = sum(layer.elapsed for layer in costs.cycles().values())
        _same(cycles, total)
        _same(used, sum(step.macs for step in costs.steps) / (config.multipliers * total))


def test_convolutions(summary: Summary) -> None:
    first, second = (
        table for table in page("docs/results.md").tables if table.heading == "Convolutions"
    )
    assert len(first.rows) == len(second.rows) == len(summary)
    for name, multipliers, off, on, skipped, gain, promised, used, efficiency in first.rows:
        row = summary[_network(name)]
        assert multipliers == {"small": "16", "default": "128"}[row["config"]]
        _same(off, row["cycles_off"])
        _same(on, row["cycles_on"])
        _same(skipped, 100 * row["mac_reduction"])
        _same(gain, row["speed_up"])
        _same(promised, 1 / (1 - row["mac_reduction"]))
        _same(used, row["utilisation"])
        _same(efficiency, row["skip_efficiency"])
    for name, predictor, loads, idle, _ in second.rows:
        row = summary[_network(name)]
        _same(predictor, 100 * row["predictor_stall"])
        _same(loads, 100 * row["load_stall"])
        _same(idle, row["cycles_idle_lanes"])


def test_a_dense_array(summary: Summary) -> None:
    for name, peer, own in page("docs/results.md").table("A dense systolic array").rows:
        row = summary[_network(name)]
        assert peer.startswith(">") == (row["scalesim_cycles"] is None)
        _same(peer, row["scalesim_at_least"])
        _same(own, row["cycles_off"])


def test_what_8_bits_cost() -> None:
    table = page("docs/results.md").table("What 8 bits cost")
    for cells, row in zip(table.rows, _read("int8.json")["rows"], strict=True):
        _, images, real, integer, lost, same = cells
        _same(images, row["images"])
        _same(real, row["float_top1"])
        _same(integer, row["int8_top1"])
        _same(lost, row["loss"])
        assert bool(same) == (row["agreement"] is not None)
        if same:
            _same(same, row["agreement"])
        assert row["loss"] <= (0.5 if row["images"] >= 10_000 else 1)


def test_hundreds_of_random_networks() -> None:
    printed = (ROOT / "docs/results/random_modules.txt").read_text()
    lines = re.findall(
        r"^(\d+) random networks from seed (\d+): .*, (\d+) ran on .*; (\d+) failed$",
        printed, re.MULTILINE,
    )  # fmt: skip
    count, first, simulated, failed = zip(*(map(int, line) for line in lines), strict=True)
    assert [start + number for start, number in zip(first, count)] == [*first[1:], 501]
    assert (first[0], sum(count), sum(simulated), sum(failed)) == (1, 500, 100, 0)
    assert printed.count("$ python -m tb.random_modules ") == len(lines)


def test_operating_points() -> None:
    points = {
        (entry["network"], entry["method"], entry["budget"]): entry
        for entry in _read("operating_points.json")
    }
    table = page("docs/results.md").table("Accuracy")
    assert len(table.rows) == 6
    for name, top1, choice, *cells in table.rows:
        method = "zap-uniform" if choice.startswith("one") else "zap"
        for budget, cell in zip(table.head[3:], cells, strict=True):
            entry = points[_network(name), method, f"max-drop {budget}"]
            skipped, lost = cell.split(" / ")
            _same(top1, entry["int8_top1"])
            _same(skipped, 100 * entry["mac_reduction"])
            _same(lost, entry["drop"])


def test_thresholds_of_their_own() -> None:
    points = {
        (entry["network"], entry["method"], entry["budget"]): entry
        for entry in _read("operating_points.json")
    }
    methods = {"channel": "zap", "layer": "zap-per-layer", "network, with one mask": "zap-uniform"}
    networks = ("resnet20", "vgg16-cifar-quarter", "alexnet-cifar-half")
    table = page("docs/how-it-works/training.md").table("What thresholds of their own bring")
    method = ""
    for choice, budget, *cells in table.rows:
        method = methods[choice] if choice else method
        for network, cell in zip(networks, cells, strict=True):
            entry = points[network, method, f"max-drop {budget}"]
            skipped, lost = cell.split(" / ")
            _same(skipped, 100 * entry["mac_reduction"])
            _same(lost, entry["drop"])


def test_an_fpga() -> None:
    rows = page("docs/results.md").table("On an FPGA").rows
    kinds = ("lut", "ff", "dsp", "bram")
    for index, (config, file) in enumerate(
        (("small", "ecp5-25-small"), ("default", "ecp5-85-default"))
    ):
        result = _read(f"fpga/{file}.json")
        (name, *used), (_, *of_device), (_, *of_core) = rows[3 * index : 3 * index + 3]
        assert name.startswith(f"`{config}`")
        for number, kind in enumerate(kinds):
            _same(used[number], result[kind])
            _same(of_device[number], 100 * result[kind] / result["device_holds"][kind])
            _same(of_core[number], 100 * result["predictor"][kind] / result[kind])
        _same(used[4], result["fmax_median_mhz"])
        _same(used[5], result["fmax_best_mhz"])


def test_boards() -> None:
    rows = page("docs/results.md").table("On boards").rows
    assert {row[0].strip("`") for row in rows} == {
        file.stem for file in (ROOT / "docs/results/boards").glob("*.json")
    }
    for name, core, *cells in rows:
        result = _read(f"boards/{name.strip('`')}.json")
        assert core.strip("`") == result["config"]["name"]
        for cell, kind in zip(cells, ("lut", "ff", "dsp", "bram"), strict=False):
            _same(cell, result[kind])
        wanted = result["clock_mhz"]
        (clock,) = (one for one in result["clocks"].values() if one["wanted_mhz"] == wanted)
        _same(cells[4], wanted)
        _same(cells[5], clock["most_mhz"])
        _same(cells[6], result["frames_per_second"]["core_allows"])
        _same(cells[7], result["frames_per_second"]["memory_allows"])


def test_the_readme(summary: Summary) -> None:
    (table,) = (table for table in page("README.md").tables if "cycles" in " ".join(table.head))
    points = {
        entry["network"]: entry
        for entry in _read("operating_points.json")
        if (entry["method"], entry["budget"]) == ("zap", "max-drop 1")
    }
    assert len(table.rows) >= 4
    for name, off, on, gain, skipped, lost in table.rows:
        row = summary[_network(name)]
        _same(off, row["all_layers_off"])
        _same(on, row["all_layers_on"])
        _same(gain, row["all_layers_off"] / row["all_layers_on"])
        _same(skipped, 100 * row["mac_reduction"])
        if row["trained"]:
            _same(lost, points[row["network"]]["drop"])
        else:
            assert lost == "random weights"
