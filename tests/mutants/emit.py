"""Writes the Verilog of a core with defects built in, or lists what could be built in.

    python -m tests.mutants.emit < REQUEST.json

The request names a configuration, the identities of defects, and the file to be written. The module
has the ports of the core. At each reset it reads a number from the file that +mutant=FILE names:
the defect that is switched on, counted from 1 in the order of the request, or 0 for none. Without a
file to be written, the identities of all defects that could be built in are printed as JSON: those
of the core, and those of what joins several cores.

This runs in a process of its own, because it imports `hw` rewritten (`tests.mutants.rewrite`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from amaranth.hdl import Elaboratable, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, connect, flipped

from golden.files import write_file
from hw.contract.config import Config
from tests.mutants import rewrite, sites

__all__: list[str] = []

_WRAPPER = """
module {name} (
{ports}
);
  reg [{high}:0] mutant;
  reg reset_before;
  reg [8*1024-1:0] file;
  integer handle, fields;
  initial mutant = 0;
  always @(posedge clk) begin
    reset_before <= rst;
    if (rst && !reset_before && $value$plusargs("mutant=%s", file)) begin
      handle = $fopen(file, "r");
      fields = $fscanf(handle, "%d", mutant);
      $fclose(handle);
    end
  end
  {name}_defective core (
{connections}
  );
endmodule
"""


class _Defective(wiring.Component):
    """A core, and beside its ports the number of the defect that is switched on."""

    mutant: Any

    def __init__(self, core: Any) -> None:
        self._core: Elaboratable = core
        super().__init__({**core.signature.members, "mutant": In(sites.MUTANT_BITS)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        core: Any = self._core
        m.submodules.core = core
        m.d.comb += sites.MUTANT.eq(self.mutant)
        for name in core.signature.members:
            inner, outer = getattr(core, name), getattr(self, name)
            if core.signature.members[name].is_signature:
                connect(m, inner, flipped(outer))
            else:
                m.d.comb += outer.eq(inner)
        return m


def main() -> None:
    request = json.load(sys.stdin)
    rewrite.install()
    from hw import verilog_output
    from hw.contract.system import System
    from hw.core.core import Core
    from hw.cores.cores import Cores

    config = Config(**request["config"])
    sites.PLANTED.update({identity: n for n, identity in enumerate(request["defects"], 1)})
    name = verilog_output.core_name(config)
    core = Core(config)
    text = verilog_output.emit(_Defective(core), f"{name}_defective")
    if "file" not in request:
        of_core = list(sites.REACHED)
        verilog_output.emit(Cores(System(config=config, cores=2), name), "system")
        of_system = [defect for defect in sites.REACHED if defect not in of_core]
        print(json.dumps({"core": of_core, "system": of_system}))
        return
    absent = sites.PLANTED.keys() - sites.REACHED.keys()
    assert not absent, f"not in this core: {sorted(absent)}"
    ports = verilog_output.describe(config, core)["ports"]
    wrapper = _WRAPPER.format(
        name=name,
        high=sites.MUTANT_BITS - 1,
        ports=",\n".join(f"    {p['direction']}put [{p['bits'] - 1}:0] {p['name']}" for p in ports),
        connections=",\n".join(f"      .{n}({n})" for n in [*(p["name"] for p in ports), "mutant"]),
    )
    write_file(Path(request["file"]), text + wrapper)


if __name__ == "__main__":
    main()
