"""The section on operating points shows the costs that the models give, and reacts in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bench.report.choice import operating_points
from bench.report.costs import layer_costs, whole_cost
from bench.report.observe import Observation, observe
from bench.report.page import Part, write_page
from compiler.costs import NetworkCosts
from golden.bundle import Bundle
from golden.manifest import Figures
from golden.pattern import MASKS
from hw.contract.config import PRESETS, Config
from quant.data.images import DatasetSource
from quant.data.registry import DATASETS
from quant.points.operating_points import add_operating_point
from quant.zap.predictor import Site
from quant.zap.quantisation import add_zaps
from quant.zap.training import train_zaps
from tests.quant.tiny_networks import images, tiny_bundle, tiny_module

TRAIN, TEST = images(60), images(20, seed=1)
CONFIG = replace(PRESETS["small"], name="g4", group=4, bus_bits=32)
HOSTILE = "b</script><b>"
"""The name of an operating point that would end a script element."""


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Observation:
    """A network with an operating point in two layers, and one in a single layer."""
    _, bare = tiny_bundle(tiny_module(), TRAIN)
    sites = [Site("conv2", MASKS["B"]), Site("conv3", MASKS["D"])]
    whole = add_zaps(bare, train_zaps(bare, sites, TRAIN, epochs=1, seed=0), TRAIN)
    whole = add_operating_point(
        whole, "both", {"conv2": (MASKS["B"], 0.6), "conv3": (MASKS["D"], 0.4)}
    )
    whole = add_operating_point(whole, "one", {"conv3": (MASKS["D"], 0.4)})
    stored = [
        point.model_copy(
            update={
                "measured": Figures(top1=50.0 - drop, drop=drop, deviation=0.25, mac_reduction=0.1),
                "predicted": Figures(drop=drop / 2),
            }
        )
        for point, drop in zip(whole.manifest.operating_points, (2.0, 0.5), strict=True)
    ]
    manifest = whole.manifest.model_copy(
        update={"operating_points": stored, "provenance": {"dataset": "noise"}}
    )
    path = tmp_path_factory.mktemp("bundles") / "tiny"
    Bundle(manifest, whole.tensors).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, "noise", lambda _: DatasetSource(list("01234"), TRAIN, TEST))
        return observe(path, None, None, images=20)


def test_markers_and_bars_are_the_models_costs(observed: Observation) -> None:
    (exhibit,) = operating_points([observed], CONFIG).exhibits
    assert exhibit.interactive is not None
    costs = NetworkCosts(observed.bundle, CONFIG)
    predicted, measured = exhibit.interactive.overview.data
    assert list(measured.customdata) == ["both", "one"]
    assert (list(measured.y), list(predicted.y)) == ([2.0, 0.5], [1.0, 0.25])
    assert list(measured.error_y.array) == [0.25, 0.25]
    assert predicted.error_y.array is None
    for name, speed_up in zip(measured.customdata, measured.x, strict=True):
        layers = layer_costs(observed, costs, name)
        whole = whole_cost(layers)
        assert speed_up == whole.cycles[0] / whole.cycles[1]
        figure = exhibit.interactive.details[name]
        bars = [list(trace.y) for trace in figure.data]
        assert bars[0] == [100 * layer.skipped for layer in layers]
        assert bars[1] == [100 * layer.lost for layer in layers]
        for run in (0, 1):
            assert bars[2 + run] == [1e-3 * layer.cycles[run] for layer in layers]
            assert bars[4 + run] == [1e-6 * layer.energy[run] for layer in layers]
            assert bars[6 + run] == [1 / 1024 * layer.traffic[run] for layer in layers]
        assert [layer.name for layer in layers if layer.skipped] == (
            ["conv2", "conv3"] if name == "both" else ["conv3"]
        )
        assert f"{whole.speed_up:.2f} times as fast" in figure.layout.title.text
    assert [record["drop"] for record in exhibit.records] == [2.0, 0.5]


def test_a_layer_that_runs_without_zap_costs_the_same(observed: Observation) -> None:
    costs = NetworkCosts(observed.bundle, CONFIG)
    layers = {layer.name: layer for layer in layer_costs(observed, costs, "one")}
    assert not layers["conv2"].zap
    assert layers["conv2"].traffic[0] == layers["conv2"].traffic[1]
    assert layers["conv2"].energy[0] == layers["conv2"].energy[1]
    assert layers["conv3"].skipped > 0


def write(observed: Observation, folder: Path, config: Config = CONFIG) -> Path:
    section = operating_points([observed], config)
    return write_page(folder, title="Tiny", command="test", parts=[Part("", [section])], skipped=[])


def test_names_cannot_leave_their_script_element(observed: Observation, tmp_path: Path) -> None:
    point = observed.bundle.manifest.operating_points[0]
    hostile = point.model_copy(update={"name": HOSTILE})
    manifest = observed.bundle.manifest.model_copy(update={"operating_points": [hostile]})
    for layer in point.layers:
        key = f"operating_points.{HOSTILE}.{layer}.threshold"
        observed.bundle.tensors[key] = observed.bundle.tensors[
            f"operating_points.both.{layer}.threshold"
        ]
    changed = replace(
        observed,
        point=HOSTILE,
        points={HOSTILE: observed.points["both"]},
        bundle=Bundle(manifest, observed.bundle.tensors),
    )
    page = write(changed, tmp_path).read_text()
    assert "b</script>" not in page
    (content,) = re.findall(r'<script type="application/json">(.*?)</script>', page)
    assert list(json.loads(content)["details"]) == [HOSTILE]


@pytest.mark.second
def test_a_browser_shows_the_operating_point_that_is_clicked_on(
    observed: Observation, tmp_path: Path
) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium here: `make test-second` installs it where it may")
    page = write(observed, tmp_path)
    click = (
        'document.querySelector(".overview").emit('
        '"plotly_click", { points: [{ customdata: "one" }] });'
    )
    both, one = "both: loses 2.00 ± 0.25 pp", "one: loses 0.50 ± 0.25 pp"
    for script, shown, hidden in (("", both, one), (click, one, both)):
        file = tmp_path / "clicked.html"
        file.write_text(page.read_text().replace("</body>", f"<script>{script}</script></body>"))
        body = re.sub(r"<script.*?</script>", "", opened(chromium, file), flags=re.DOTALL)
        assert body.count('class="main-svg"') >= 2
        assert shown in body
        assert hidden not in body
        # Two markers of each kind, and the bars.
        assert body.count('class="point"') >= 2 * 2


def opened(chromium: str, file: Path) -> str:
    """Open a page in Chromium; return the document after its scripts ran."""
    return subprocess.run(
        [
            *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            f"--user-data-dir={file.parent / 'profile'}",
            *("--virtual-time-budget=10000", file.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    ).stdout
