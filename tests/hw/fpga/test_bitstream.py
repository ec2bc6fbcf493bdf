"""A whole system for an ECP5: what is handed to the tools, and what is taken from them."""

import json
from pathlib import Path

import pytest

from golden.errors import UserError
from hw.contract.config import PRESETS
from hw.fpga import bitstream
from hw.fpga.bitstream import Clock, System, refuse_slow
from hw.fpga.ecp5 import DEVICES
from hw.soc.boards import BOARDS

ABOUT = {
    "top": "system",
    "sources": ["core.v", "system.v"],
    "pins": "system.lpf",
    "device": "LFE5U-25F-6BG381C",
    "options": ["--25k", "--speed", "6", "--package", "CABGA381"],
}


@pytest.fixture
def system(tmp_path: Path) -> System:
    (tmp_path / "system.json").write_text(json.dumps({**ABOUT, "memory_bytes": 1}))
    return System.load(tmp_path)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The tools that are called, with their arguments; each leaves the files of a small system."""
    calls: list[list[str]] = []

    def run_tool(tool: str, arguments: list[str], log: Path, _say: object) -> None:
        calls.append([tool, *arguments])
        fmax = {
            "$glbnet$sys_clk": {"achieved": 61.234, "constraint": 50.0},
            "clk25": {"achieved": 300.0, "constraint": 25.0},
        }
        (log.parent / "report.json").write_text(json.dumps({"fmax": fmax}))
        (log.parent / "netlist.json").write_text('{"modules": {"system": {"cells": {}}}}')

    monkeypatch.setattr(bitstream, "run_tool", run_tool)
    return calls


def test_tools_see_names_in_their_own_folder(system: System, ran: list[list[str]]) -> None:
    """The builds for WebAssembly do not find every absolute path."""
    assert bitstream.synthesise_system(system, print).cells == {}
    clocks = bitstream.place_system(system, 3, print)
    assert bitstream.pack(system, print) == system.folder / "system.bit"
    yosys, nextpnr, ecppack = ran
    assert "read_verilog core.v system.v; verilog_defaults -pop" in yosys[-1]
    assert "synth_ecp5 -top system" in yosys[-1]
    assert nextpnr[1:6] == ABOUT["options"]
    assert nextpnr[nextpnr.index("--seed") + 1] == "3"
    assert ecppack == ["yowasp-ecppack", "--compress", "system.config", "--bit", "system.bit"]
    assert str(system.folder) not in " ".join([*yosys, *nextpnr, *ecppack])
    assert clocks == {"sys_clk": Clock(50.0, 61.23), "clk25": Clock(25.0, 300.0)}


def test_a_clock_that_is_too_slow_is_refused() -> None:
    refuse_slow({"sys_clk": Clock(50.0, 50.0)})
    with pytest.raises(UserError) as caught:
        refuse_slow({"clk25": Clock(25.0, 300.0), "sys_clk": Clock(50.0, 49.9)})
    assert str(caught.value) == (
        "clock sys_clk has to run at 50.0 MHz, and the placement allows 49.9: try another --seed"
    )


def test_boards_name_parts_and_presets_that_exist() -> None:
    assert {board.part for board in BOARDS.values()} <= DEVICES.keys()
    assert {board.config for board in BOARDS.values()} <= PRESETS.keys()
    assert {name: board.bytes_a_cycle for name, board in BOARDS.items()} == {
        "ulx3s-85f": 2,
        "ecpix5-85f": 8,
        "colorlight-i5": 4,
    }
