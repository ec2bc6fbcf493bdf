"""The estimate of a network: fits, cycles, gains, from its definition alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.estimate.__main__ import main
from bench.estimate.fit import fit, fit_parts
from bench.estimate.speed import speed
from bench.fpga_results import ASSUMED_MHZ, find_build
from bench.measure import load_measurement
from bench.summary import model_cycles
from compiler.costs import NetworkCosts
from golden.bundle import Bundle
from golden.errors import UserError
from golden.pattern import MASKS
from hw.contract.config import PRESETS
from quant.pipeline.shaped_network import shaped_network
from quant.runtime.options import parse_shape
from tests.commands import assert_refused
from tests.docs.pages import page
from tests.hw.small_configs import TINY

COUNTED = Path("docs/results/bench/counted")
NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes=7):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.deep = nn.Conv2d(16, 24, 3, padding=1)
        self.point = nn.Conv2d(24, 40, 1)
        self.head = nn.Linear(40, classes)

    def forward(self, x):
        x = torch.relu(self.deep(torch.relu(self.stem(x))))
        x = torch.relu(self.point(nn.functional.max_pool2d(x, 2)))
        return self.head(x.mean((2, 3)))

class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1, stride=2)
        self.dw = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.pw = nn.Conv2d(16, 40, 1)
        self.g = nn.Conv2d(40, 40, 3, padding=1, groups=4)
        self.head = nn.Linear(40, 7)

    def forward(self, x):
        x = torch.relu(self.dw(torch.relu(self.stem(x))))
        x = torch.relu(self.g(torch.relu(self.pw(x))))
        return self.head(x.mean((2, 3)))

class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x):
        return nn.functional.gelu(self.conv(x))
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nets") / "nets.py"
    path.write_text(NETWORK)
    return path


@pytest.fixture(scope="module")
def bundle(file: Path) -> Bundle:
    return shaped_network(f"{file}:Net", (3, 20, 24))


def estimated(
    arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Run the command; return its JSON."""
    out = folder / "estimate.json"
    monkeypatch.setattr("sys.argv", ["estimate", *arguments, "--json", str(out)])
    main()
    document: dict[str, Any] = json.loads(out.read_text())
    return document


@pytest.mark.parametrize(
    "name",
    ["vgg16-cifar-quarter", pytest.param("alexnet-cifar-half", marks=pytest.mark.second)],
)
def test_cycles_are_the_models_and_within_three_percent_of_those_counted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measurement = load_measurement(COUNTED / f"{name}-default.json")
    document = estimated(["--model", name, "--config", "default"], tmp_path, monkeypatch)
    (core,) = document["cores"]
    assert core["fits"]
    model = model_cycles(measurement)
    assert {layer["name"]: layer["cycles"] for layer in core["layers"]} == {
        layer: off for layer, (off, _) in model.items()
    }
    counted = sum(layer.off["elapsed"] for layer in measurement.layers)
    assert core["cycles"] == pytest.approx(counted, rel=0.03)
    beats = sum(
        layer.off["beats_read"] + layer.off["beats_written"] for layer in measurement.layers
    )
    assert core["traffic_bytes"] == pytest.approx(8 * beats, abs=8 * 32)
    assert core["images_a_second"] == pytest.approx(110.8e6 / core["cycles"])


@pytest.mark.second
def test_the_tutorial_shows_what_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fitting = ["--model", "alexnet-cifar-half", "--part", "ecp5-85"]
    estimated(fitting, tmp_path, monkeypatch)
    estimated(["--model", "resnet18", "--config", "small"], tmp_path, monkeypatch)
    printed = {line.strip() for line in capsys.readouterr().out.splitlines()}
    shown = [b for b in page("docs/tutorials/will-it-fit.md").blocks if b.language == "text"]
    assert len(shown) == 3
    for block in shown:
        assert {line.strip() for line in block.text.splitlines()} <= printed


def test_traffic_of_grouped_convolutions_is_what_the_core_counts(file: Path) -> None:
    costs = NetworkCosts(shaped_network(f"{file}:Grouped", (3, 32, 32)), PRESETS["small"])
    beats = {layer: (found.read, found.written) for layer, found in costs.beats().items()}
    # From `python -m bench.speed --bundle DIR --config small` of this network; of the first layer
    # without the header, of the last one with its descriptor.
    assert beats == {
        "stem": (1456, 536),
        "dw": (776, 524),
        "pw": (1152, 1304),
        "g": (3320, 17),
        "head": (115, 13),
    }


def test_the_page_has_the_network_first_and_then_its_layers(
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    html = tmp_path / "page"
    arguments = ["--model", f"{file}:Net", "--shape", "3x20x24", "--html", str(html)]
    document = estimated(arguments, tmp_path, monkeypatch)
    text = capsys.readouterr().out
    headings = ("Does it fit?", "The whole network", "Memory, traffic", "Layers on")
    assert sorted(headings, key=text.index) == list(headings)
    assert document["image"] == [3, 20, 24]
    assert document["weights"] == 16 * 27 + 24 * 144 + 40 * 24 + 40 * 7
    for core in document["cores"]:
        kinds = {layer["name"]: layer["kind"] for layer in core["layers"]}
        assert kinds["head"] == "fully connected"
        assert [layer["name"] for layer in core["layers"] if layer["zap"]] == ["deep", "point"]
        assert core["cycles"] == pytest.approx(sum(layer["cycles"] for layer in core["layers"]))
        assert [zap["share"] for zap in core["zap"]] == [0.2, 0.3, 0.4]
        gains = [zap["cycles"] < core["cycles"] for zap in core["zap"]]
        assert gains == [bool(zap["layers"]) for zap in core["zap"]]
        # The layers of this network are too small for eight PEs to gain anything.
        assert all(gains) == (core["config"]["name"] != "narrow")
    text = (html / "index.html").read_text()
    assert "<h3>The whole network</h3>" in text
    assert (html / "layers-small.csv").read_text().startswith("layer,kind,macs,cycles,")


def test_what_is_in_the_way_is_named_with_a_value_that_would_do(bundle: Bundle) -> None:
    small = replace(TINY, name="low", ifm_words=64, weight_words=16, row_pixels=16)
    found = fit(bundle, small, MASKS["B"])
    assert not found.fits
    demands = {(shortage.layer, shortage.demand.field): shortage for shortage in found.shortages}
    assert demands["deep", "weight_words"].demand.need == 9 * 16 // small.lanes
    assert demands["deep", "weight_words"].enough == 32
    words = [s.enough or 0 for (_, field), s in demands.items() if field == "ifm_words"]
    assert max(words) == found.raised["ifm_words"]
    assert demands["deep", "row_pixels"].zap
    assert demands["deep", "row_pixels"].enough == 32
    again = fit(bundle, replace(found.enough, row_pixels=32), MASKS["B"])
    assert again.fits
    assert not [shortage for shortage in again.shortages if not shortage.zap]
    for name, value in found.raised.items():
        less = fit(bundle, replace(found.enough, **{name: value // 2}), MASKS["B"])  # type: ignore[arg-type]
        assert less.raised == {name: value}


def test_a_network_that_does_not_fit_gets_the_rest_of_its_page(
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tmp_path / "low.json"
    config.write_text(json.dumps(replace(TINY, name="low", weight_words=16).to_dict()))
    arguments = ["--model", f"{file}:Net", "--shape", "3x20x24", "--config", str(config)]
    (core,) = estimated(arguments, tmp_path, monkeypatch)["cores"]
    assert not core["fits"]
    assert core["estimated_on"]["weight_words"] == 32
    assert core["cycles"] > 0
    assert core["clock_mhz"] == ASSUMED_MHZ
    text = " ".join(capsys.readouterr().out.split())
    assert "What is in the way" in text
    assert "* With weight_words = 32, because it does not fit otherwise." in text


def test_a_layer_that_no_core_holds_is_left_out_of_the_figures(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hw.contract.config._MOST_CHANNELS", 32)
    found = fit(bundle, PRESETS["default"], MASKS["B"])
    assert list(found.refusals) == ["point"]
    assert [shortage.enough for shortage in found.shortages] == [None]
    result = speed(bundle, found, MASKS["B"], [0.3], None)
    assert [layer.name for layer in result.layers] == ["stem", "deep", "head"]
    assert result.program is None


def test_clocks_and_resources_are_those_that_were_measured(bundle: Bundle) -> None:
    for name, device in (("small", "ecp5-25"), ("default", "ecp5-85")):
        build = find_build(PRESETS[name])
        assert build is not None
        assert build.device == device
        stored = json.loads(Path(f"docs/results/fpga/{device}-{name}.json").read_text())
        assert build.clock_mhz == stored["fmax_median_mhz"]
        parts = fit_parts(PRESETS[name], PRESETS[name])
        assert not parts[device].lacks
        assert parts[device].measured
    assert (
        "150 of 28 DSP blocks" in fit_parts(PRESETS["default"], PRESETS["default"])["ecp5-25"].lacks
    )
    larger = replace(PRESETS["small"], ifm_words=8192)
    assert find_build(larger) is None
    found = fit_parts(larger, PRESETS["small"])
    # Two banks of 4096 instead of 2048 words of 64 bits: 16 blocks of 4096 x 4, not 8 of 2048 x 9.
    assert found["ecp5-25"].lacks == "69 of 56 block RAMs"
    assert not found["ecp5-85"].measured


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "{file}:Net"], "give the shape of its images with --shape, for example 3x224"),
        (["--model", "{file}:Gated", "--shape", "3x9x9"], "gelu"),
        (["--model", "{file}:Net", "--shape", "3x9"], "--shape '3x9' is not CHANNELSxHEIGHTxWIDTH"),
        (["--model", "digits", "--shape", "3x8x8"], "the model takes images of 1 channels"),
        (["--model", "digits", "--skipped", "40"], "--skipped '40' is not a share"),
        (["--model", "digits", "--clock", "0"], "--clock '0' is not a number above 0"),
        (["--model", "nothing"], "model 'nothing': neither FILE.py:NAME"),
    ],
    ids=["no shape", "GELU", "shape", "channels", "share", "clock", "model"],
)
def test_what_cannot_be_estimated_is_refused_in_one_line(
    file: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("bench.estimate.__main__.reporting", _silent)
    filled = [argument.format(file=file) for argument in arguments]
    assert_refused(main, filled, message, monkeypatch, capsys)


def test_results_of_fpga_builds_are_read_strictly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.json").write_text("{}")
    monkeypatch.setattr("bench.fpga_results.FOLDERS", (tmp_path,))
    with pytest.raises(UserError, match=r"broken\.json: not what make fpga writes"):
        find_build(PRESETS["small"])


def test_a_shape_has_three_sizes() -> None:
    assert parse_shape("1x49x10") == (1, 49, 10)
    for text in ("49x10", "1x0x4", "ax1x1", ""):
        with pytest.raises(UserError, match="is not CHANNELSxHEIGHTxWIDTH"):
            parse_shape(text)


class _silent:
    """Takes reports and shows none."""

    def __enter__(self) -> Any:
        return lambda *report: None

    def __exit__(self, *error: object) -> None:
        pass
