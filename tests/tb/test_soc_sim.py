"""A RISC-V processor drives the core in C, in a simulated LiteX system."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tb.paths import REPOSITORY

LITEX = REPOSITORY / "build" / "litex"


@pytest.mark.second
@pytest.mark.skipif(
    not (LITEX / "stamp").exists(), reason="no LiteX: make build/litex/stamp sets it up"
)
@pytest.mark.skipif(
    shutil.which("riscv64-unknown-elf-gcc") is None or shutil.which("verilator") is None,
    reason="no RISC-V compiler, or no Verilator of the system: make riscv installs them",
)
def test_firmware_in_c_classifies_and_recovers(tmp_path: Path) -> None:
    bundle = tmp_path / "digits"
    subprocess.run(
        [sys.executable, "quant/export.py", "--out", str(bundle)], cwd=REPOSITORY, check=True
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tb.soc_sim", "--bundle", str(bundle), "--images", "1"),
            *("--litex", str(LITEX / "bin" / "python"), "--out", str(tmp_path / "soc")),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "all right" in lines
    for point in ("dense", "default"):
        for way in ("polling", "interrupt"):
            begin = f"{point}, by {way}, image 0: class "
            assert any(line.startswith(begin) for line in lines), begin
    assert any("a burst would have left the window" in line for line in lines)
    assert "aborted: the program was aborted" in lines


def test_a_missing_environment_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tb.soc_sim", "--litex", str(tmp_path / "python")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path}/python: not found; make soc-sim sets it up\n"
