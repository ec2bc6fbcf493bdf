"""The figures of `make bench`: computed from counts, kept in a file, refused in another version."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import speed
from bench.charts import draw_charts
from bench.energy import energy
from bench.fpga_results import ASSUMED_MHZ, find_build
from bench.measure import MeasuredLayer, Measurement, load_measurement, save_measurement
from bench.scalesim import array_shape
from bench.summary import summarise
from golden.errors import UserError
from hw.contract.config import PRESETS
from hw.contract.counters import CORE_COUNTERS
from tests.commands import assert_refused

FIELDS = (
    *("config", "network", "layer", "macs", "mac_reduction", "cycles_off", "cycles_on"),
    *("utilisation", "skip_efficiency", "predictor_stall", "scalesim_cycles", "limit_cycles"),
)
"""Fields that other tools may rely on."""


def counters(elapsed: int, **others: int) -> dict[str, int]:
    return {**dict.fromkeys(CORE_COUNTERS, 0), "elapsed": elapsed, "cycles": elapsed, **others}


def convolution(name: str) -> MeasuredLayer:
    """A 3x3 convolution of 64 channels that takes 4,608 cycles; half of `I_t` is kept."""
    return MeasuredLayer(
        name=name,
        convolution=True,
        macs=4608 * 128,
        ifm=(64, 10, 10),
        kernel=(3, 3),
        stride=(1, 1),
        ofm=(16, 8, 8),
        kept=[16] * 16,
        off=counters(5000, busy=4608, computed=1024),
        on=counters(
            4000, busy=3456, computed=512, kept=256, skipped=256, cycles=3900, wait_predictor=40
        ),
        idle=counters(4800, busy=4600, computed=512, kept=256, skipped=256),
    )


@pytest.fixture
def measurement() -> Measurement:
    classifier = replace(
        convolution("fc"),
        convolution=False,
        kept=[],
        on=counters(5000, busy=4608, computed=1024),
    )
    return Measurement(
        network="net",
        trained=True,
        point="default",
        config=PRESETS["default"],
        layers=[convolution("a"), convolution("b"), classifier],
    )


MODEL = {"a": (5050.0, 4040.0), "b": (5000.0, 4000.0), "fc": (5000.0, 5000.0)}


def test_a_row_for_each_layer_and_one_for_all_convolutions(measurement: Measurement) -> None:
    rows = summarise(measurement, {"a": 5200, "b": 5300}, MODEL)
    assert [row["layer"] for row in rows] == ["a", "b", "fc", None]
    for row in rows:
        assert set(FIELDS) <= row.keys()
    whole = rows[-1]
    assert whole["macs"] == 2 * 4608 * 128
    assert (whole["cycles_off"], whole["cycles_on"]) == (10000, 8000)
    assert (whole["all_layers_off"], whole["all_layers_on"]) == (15000, 13000)
    assert whole["mac_reduction"] == 0.25
    assert whole["limit_cycles"] == 0.75 * 2 * 4608
    assert whole["utilisation"] == round(4608 / 5000, 4)
    assert whole["skip_efficiency"] == round(10000 * 0.75 / 8000, 4)
    assert whole["speed_up"] == 1.25
    assert whole["predictor_stall"] == 0.01
    assert whole["load_stall"] == 0.025
    assert whole["scalesim_cycles"] == whole["scalesim_at_least"] == 10500


def test_the_whole_network_has_its_fully_connected_layers(measurement: Measurement) -> None:
    whole = summarise(measurement, {}, MODEL)[-1]["whole_network"]
    build = find_build(measurement.config)
    assert build is not None
    macs, dsps, clock = 3 * 4608 * 128, build.use.dsp, build.clock_mhz
    assert whole["macs"] == macs
    assert (whole["dsp"], whole["clock_mhz"], whole["device"]) == (dsps, clock, build.device)
    assert whole["mac_reduction"] == round(0.5 / 3, 4)
    assert whole["speed_up"] == round(15000 / 13000, 4)
    assert whole["utilisation"] == round(3 * 4608 / 15000, 4)
    assert whole["frames_per_second_off"] == round(clock * 1e6 / 15000, 2)
    assert whole["frames_per_second_on"] == round(clock * 1e6 / 13000, 2)
    assert whole["macs_per_dsp_off"] == round(macs / dsps / 15000, 4)
    assert whole["macs_per_dsp_on"] == round(macs / dsps / 13000, 4)
    assert whole["macs_per_dsp_on_computed"] == round(macs * (1 - 0.5 / 3) / dsps / 13000, 4)
    for which in ("off", "on"):
        expected = energy(measurement.config, measurement.layers, which)
        parts = whole[f"energy_{which}_uj"]
        assert parts == {name: round(value * 1e-6, 2) for name, value in expected.items()}


def test_a_core_that_nobody_placed_has_no_figure_for_each_dsp_block(
    measurement: Measurement,
) -> None:
    unplaced = replace(measurement, config=replace(measurement.config, name="x", ofm_words=512))
    whole = summarise(unplaced, {}, MODEL)[-1]["whole_network"]
    assert (whole["dsp"], whole["device"], whole["macs_per_dsp_on"]) == (None, None, None)
    assert whole["frames_per_second_on"] == round(ASSUMED_MHZ * 1e6 / 13000, 2)


def test_a_peer_that_lacks_a_layer_has_no_total_but_a_least_one(measurement: Measurement) -> None:
    *layers, whole = summarise(measurement, {"a": 5200}, MODEL)
    assert [row["scalesim_cycles"] for row in layers] == [5200, None, None]
    assert whole["scalesim_cycles"] is None
    # 8 folds of the pixels on 8 rows, one of the channels on 16 columns
    unstalled = 8 * (64 * 9 + 8 + 16 - 2)
    assert layers[1]["scalesim_at_least"] == unstalled
    assert whole["scalesim_at_least"] == 5200 + unstalled


def test_skips_save_arithmetic_and_cost_the_predictor(measurement: Measurement) -> None:
    off, on = (energy(measurement.config, measurement.layers[:1], run) for run in ("off", "on"))
    assert on["arithmetic"] == pytest.approx(0.75 * off["arithmetic"])
    assert off["predictor"] == 0
    assert 0 < on["predictor"] < off["arithmetic"] - on["arithmetic"]


def test_measurements_and_charts_are_files(measurement: Measurement, tmp_path: Path) -> None:
    file = save_measurement(measurement, tmp_path)
    assert load_measurement(file) == measurement
    charts = draw_charts(summarise(measurement, {}, MODEL), tmp_path)
    assert [chart.name for chart in charts] == ["net.png", "networks.png"]
    assert all(chart.read_bytes().startswith(b"\x89PNG") for chart in charts)


def test_a_measurement_of_another_version_is_refused(
    measurement: Measurement, tmp_path: Path
) -> None:
    file = save_measurement(measurement, tmp_path)
    file.write_text(json.dumps({**json.loads(file.read_text()), "version": 0}))
    with pytest.raises(UserError, match="of another version; remove it and run make bench again"):
        load_measurement(file)


@pytest.mark.parametrize(("multipliers", "shape"), [(16, (4, 4)), (128, (8, 16)), (256, (16, 16))])
def test_the_peers_array_is_as_square_as_can_be(multipliers: int, shape: tuple[int, int]) -> None:
    assert array_shape(multipliers) == shape


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits", "--bundle", "build/x"], "digits: give either names or a --bundle"),
        (["--point", "best"], "--point is for a --bundle"),
        (["--bundle", "nowhere"], "nowhere/manifest.json: not found"),
        (["lenet"], "no network 'lenet'"),
    ],
)
def test_networks_that_are_not_clear_are_refused(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert_refused(speed.main, arguments, message, monkeypatch, capsys)


@pytest.mark.sim
@pytest.mark.second
def test_the_users_network_is_measured_on_his_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Path("examples/bundles/vgg16-cifar-quarter")
    image = tmp_path / "image.npy"
    np.save(image, np.random.default_rng(2).integers(0, 256, (3, 32, 32), np.uint8))
    arguments = ["--bundle", str(bundle), "--point", "max-drop-1", "--image", str(image)]
    options = ["--no-idle-lanes", "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["speed", *arguments, *options])
    speed.main()
    rows = json.loads((tmp_path / "out" / "summary.json").read_text())
    committed = load_measurement(
        Path("docs/results/bench/counted/vgg16-cifar-quarter-default.json")
    )
    # Without ZAP, cycles do not depend on the image.
    assert [row["cycles_off"] for row in rows[:-1]] == [
        layer.off["elapsed"] for layer in committed.layers
    ]
    assert rows[-1]["point"] == "max-drop-1"
