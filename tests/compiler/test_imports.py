"""The compiler and the host's driver need no RTL, and so no Amaranth."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = [
    f"{file.relative_to(ROOT).with_suffix('')}".replace("/", ".")
    for package in ("compiler", "hw/contract")
    for file in sorted((ROOT / package).glob("[!_]*.py"))
]


def loaded_by(modules: str) -> list[str]:
    """The modules that importing some loads, in an interpreter of its own.

    The interpreter of this test has loaded the hardware for other tests.
    """
    process = subprocess.run(
        [sys.executable, "-c", f"import {modules}, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    loaded = process.stdout.split()
    assert set(modules.split(", ")) <= set(loaded)
    return loaded


def needs_hardware(loaded: list[str]) -> list[str]:
    """The modules of Amaranth and of the RTL among those that were loaded."""
    return [
        name
        for name in loaded
        if name.startswith(("amaranth", "hw."))
        and name != "hw.contract"
        and not name.startswith("hw.contract.")
    ]


@pytest.mark.parametrize("module", ["compiler.driver", "compiler.build", "compiler.program_file"])
def test_of_the_hardware_only_the_contract_is_imported(module: str) -> None:
    loaded = loaded_by(module)
    assert "hw.contract.config" in loaded
    assert needs_hardware(loaded) == []


def test_no_module_of_the_compiler_or_the_contract_needs_the_hardware() -> None:
    assert {"compiler.cycles", "hw.contract.registers", "hw.contract.timing"} <= set(MODULES)
    assert needs_hardware(loaded_by(", ".join(MODULES))) == []


def test_the_hardware_itself_would_be_noticed() -> None:
    found = needs_hardware(loaded_by("hw.layouts.descriptor"))
    assert {"amaranth", "hw.layouts.descriptor"} <= set(found)


def test_the_driver_needs_no_torch() -> None:
    """A host that runs programs may be a small one."""
    assert "torch" not in loaded_by("compiler.driver")
