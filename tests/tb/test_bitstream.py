"""`make bitstream` refuses what it cannot build, and says what a board allows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from compiler import program_file
from golden.bundle import Bundle
from hw.contract.config import PRESETS, Config
from hw.fpga.blocks import Ecp5
from hw.soc.boards import BOARDS, FIRMWARE_BYTES
from tb.paths import REPOSITORY
from tb.runs.board_speed import frames
from tb.runs.soc_files import SOC_FOLDER, write_soc_files

LITEX = REPOSITORY / "build" / "litex"
RESULTS = REPOSITORY / "docs" / "results" / "boards"


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_unknown_board_is_one_line(tmp_path: Path) -> None:
    done = run_cli("tb.bitstream", "--board", "arty", "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert done.stderr == ("error: no board 'arty': use ulx3s-85f, ecpix5-85f, colorlight-i5\n")
    assert not (tmp_path / "out").exists()


def test_a_missing_environment_is_one_line(tmp_path: Path) -> None:
    litex = str(tmp_path / "python")
    done = run_cli("tb.bitstream", "--litex", litex, "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert done.stderr == f"error: {litex}: not found; make bitstream sets it up\n"
    assert not (tmp_path / "out").exists()


def test_a_board_without_a_model_of_its_memory_is_not_simulated() -> None:
    done = run_cli("tb.soc_sim", "--litex", sys.executable, "--board", "ecpix5-85f")
    assert done.returncode == 2
    assert done.stderr == (
        "error: no board 'ecpix5-85f' to simulate: use ulx3s-85f, colorlight-i5\n"
    )


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*.json")), ids=lambda file: file.stem)
def test_a_committed_result_is_of_a_board_that_keeps_its_clocks(file: Path) -> None:
    result = json.loads(file.read_text())
    board = BOARDS[file.stem]
    assert result["run_on_a_board"] is False
    assert Config(**result["config"]) == PRESETS[board.config]
    assert result["clock_mhz"] == board.clock_mhz
    for kind, held in result["device_holds"].items():
        assert 0 < result[kind] <= held
    assert {clock["wanted_mhz"] for clock in result["clocks"].values()} >= {board.clock_mhz}
    for clock in result["clocks"].values():
        assert clock["most_mhz"] >= clock["wanted_mhz"]
    allowed = result["frames_per_second"]
    clock_hz = board.clock_mhz * 1e6
    assert allowed["core_allows"] == round(clock_hz / allowed["core_cycles"], 1)
    cycles = allowed["bytes_moved"] / board.bytes_a_cycle
    assert allowed["memory_allows"] == round(clock_hz / cycles, 1)


@pytest.mark.second
@pytest.mark.skipif(
    not (LITEX / "stamp").exists(), reason="no LiteX: make build/litex/stamp sets it up"
)
@pytest.mark.skipif(
    shutil.which("riscv64-unknown-elf-gcc") is None,
    reason="no RISC-V compiler: make riscv installs it",
)
def test_a_board_is_elaborated_with_its_software(tmp_path: Path) -> None:
    """The smallest of the boards; synthesis and placement take minutes, so not here."""
    subprocess.run(
        [sys.executable, "quant/export.py", "--out", str(tmp_path / "digits")],
        cwd=REPOSITORY,
        check=True,
    )
    bundle, config = Bundle.load(tmp_path / "digits"), PRESETS["tiny"]
    board = BOARDS["colorlight-i5"]
    files = write_soc_files(bundle, config, 1, tmp_path, Ecp5())
    path = os.pathsep.join([str(LITEX / "bin"), os.environ["PATH"]])
    script = [str(LITEX / "bin" / "python"), str(SOC_FOLDER / "build_board.py")]
    subprocess.run(
        [*script, "--board", "colorlight-i5", *files.options],
        env={**os.environ, "PATH": path},
        check=True,
        capture_output=True,
    )
    gateware = tmp_path / "system" / "gateware"
    about = json.loads((gateware / "system.json").read_text())
    assert about["device"] == "LFE5U-25F-6BG381C"
    assert about["memory_bytes"] == 8 << 20
    assert sorted(about["sources"]) == ["VexRiscv_Lite.v", "system.v", "zapcore_tiny.v"]
    assert all((gateware / name).exists() for name in [*about["sources"], about["pins"]])
    assert "MULT18X18D" in (gateware / "zapcore_tiny.v").read_text()
    assert re.search(r'LOCATE COMP "sdram_dq\[31\]"', (gateware / about["pins"]).read_text())
    boot = (tmp_path / "system" / "boot.bin").read_bytes()
    firmware = (tmp_path / "system" / "firmware.bin").read_bytes()
    assert boot.startswith(firmware)
    assert boot[FIRMWARE_BYTES:] == (tmp_path / "memory.bin").read_bytes()
    program = program_file.load(tmp_path / "program.zap")
    assert FIRMWARE_BYTES + files.memory_bytes >= FIRMWARE_BYTES + program.end
    allowed = frames(bundle, config, board)
    assert allowed["memory_allows"] > allowed["core_allows"] > 300
