"""The compiler and the host's driver need no RTL, and so no Amaranth."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import sys
import {module}
for name in sorted(sys.modules):
    print(name)
"""


@pytest.mark.parametrize("module", ["compiler.driver", "compiler.build", "compiler.program_files"])
def test_of_the_hardware_only_the_contract_is_imported(module: str) -> None:
    """In an interpreter of its own, because this one has loaded the hardware for other tests."""
    process = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(module=module)],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = process.stdout.split()
    assert module in loaded
    assert "hw.contract.config" in loaded
    assert not [name for name in loaded if name.startswith("amaranth")]
    allowed = ("hw", "hw.contract")
    assert not [
        name
        for name in loaded
        if name.partition(".")[0] == "hw"
        and name not in allowed
        and not name.startswith("hw.contract.")
    ]


def test_the_driver_needs_no_torch() -> None:
    """A host that runs programs may be a small one."""
    process = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(module="compiler.driver")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "torch" not in process.stdout.split()
