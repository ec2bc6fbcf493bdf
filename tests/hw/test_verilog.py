"""`make verilog`: its output passes lint, is described by its JSON, and is the same every time."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from golden.errors import UserError
from hw import verilog_output
from hw.contract.config import PRESETS, Config
from hw.contract.system import System
from hw.core.core import Core
from hw.fpga.blocks import Amd
from hw.layouts.descriptor import ChannelRecord
from tb.paths import REPOSITORY
from tb.runs.engine import LINT
from tb.simulators import toolchain
from tests.hw.small_configs import TINY

SMALLEST = Config(
    name="smallest",
    pes=1,
    lanes=8,
    group=4,
    ifm_words=16,
    weight_words=16,
    ofm_words=16,
    row_pixels=4,
    bus_bits=32,
)
CONFIGS = [
    *PRESETS.values(),
    SMALLEST,
    replace(TINY, name="bare", predictor=False),
    replace(TINY, name="wide", pes=8, lanes=32, group=16, bus_bits=128),
]


PORTS = """
in 1 clk, in 1 rst,
in 12 s_axil_awaddr, in 3 s_axil_awprot, in 1 s_axil_awvalid, out 1 s_axil_awready,
in 32 s_axil_wdata, in 4 s_axil_wstrb, in 1 s_axil_wvalid, out 1 s_axil_wready,
out 2 s_axil_bresp, out 1 s_axil_bvalid, in 1 s_axil_bready,
in 12 s_axil_araddr, in 3 s_axil_arprot, in 1 s_axil_arvalid, out 1 s_axil_arready,
out 32 s_axil_rdata, out 2 s_axil_rresp, out 1 s_axil_rvalid, in 1 s_axil_rready,
out 2 m_axi_arid, out 32 m_axi_araddr, out 8 m_axi_arlen, out 3 m_axi_arsize, out 2 m_axi_arburst,
out 1 m_axi_arlock, out 4 m_axi_arcache, out 3 m_axi_arprot, out 4 m_axi_arqos,
out 4 m_axi_arregion, out 1 m_axi_arvalid, in 1 m_axi_arready,
in 2 m_axi_rid, in 64 m_axi_rdata, in 2 m_axi_rresp, in 1 m_axi_rlast, in 1 m_axi_rvalid,
out 1 m_axi_rready,
out 2 m_axi_awid, out 32 m_axi_awaddr, out 8 m_axi_awlen, out 3 m_axi_awsize, out 2 m_axi_awburst,
out 1 m_axi_awlock, out 4 m_axi_awcache, out 3 m_axi_awprot, out 4 m_axi_awqos,
out 4 m_axi_awregion, out 1 m_axi_awvalid, in 1 m_axi_awready,
out 64 m_axi_wdata, out 8 m_axi_wstrb, out 1 m_axi_wlast, out 1 m_axi_wvalid, in 1 m_axi_wready,
in 2 m_axi_bid, in 2 m_axi_bresp, in 1 m_axi_bvalid, out 1 m_axi_bready,
out 1 irq
"""


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hw.verilog", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def ports_of(source: str, module: str) -> dict[str, tuple[str, int]]:
    """Direction and width of a module's ports by their names, as its Verilog text has them."""
    body = source[source.index(f"\nmodule {module}(") :]
    body = body[: body.index("\nendmodule")]
    declared = re.findall(r"^  (in|out)put (?:reg )?(?:\[(\d+):0\] )?(\w+)", body, re.MULTILINE)
    return {name: (direction, int(high or 0) + 1) for direction, high, name in declared}


@pytest.mark.sim
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_verilator_has_nothing_to_say(config: Config, tmp_path: Path) -> None:
    """All warnings are on, but for the waivers of hw/lint.vlt."""
    source = verilog_output.write_core(config, tmp_path)[0]
    done = lint(source, verilog_output.core_name(config))
    assert done.returncode == 0, done.stderr
    assert "%Warning" not in done.stderr


@pytest.mark.sim
@pytest.mark.parametrize("bits", [pytest.param(32, marks=pytest.mark.second), 128])
def test_several_cores_are_one_module_of_a_core_and_what_joins_them(
    bits: int, tmp_path: Path
) -> None:
    system = System(config=SMALLEST, cores=3, memory_bits=bits)
    alone = verilog_output.emit(Core(SMALLEST), verilog_output.core_name(SMALLEST))
    source, description = verilog_output.write_cores(system, tmp_path)[:2]
    text, described = source.read_text(), json.loads(description.read_text())
    assert text.startswith(alone)
    name = verilog_output.cores_name(system)
    assert (described["module"], described["cores"]) == (name, 3) == ("zapcore_smallest_3cores", 3)
    ports = {port["name"]: (port["direction"], port["bits"]) for port in described["ports"]}
    assert ports == ports_of(text, name)
    wider = {"irq": 3, "s_axil_awaddr": 14, "m_axi_arid": 4, "m_axi_rdata": bits}
    assert {port: ports[port][1] for port in wider} == wider
    single = ports_of(alone, verilog_output.core_name(SMALLEST))
    assert ports.keys() == single.keys()
    done = lint(source, name)
    assert done.returncode == 0, done.stderr
    assert "%Warning" not in done.stderr


@pytest.mark.sim
@pytest.mark.parametrize(
    ("statement", "warning"),
    [
        ("assign narrow = wide;", "WIDTHTRUNC"),
        ("wire none; assign narrow = none;", "UNDRIVEN"),
        ("assign narrow = wide > 4'd15;", "CMPCONST"),
        ("wire [-1:0] none; assign narrow = none[0];", "ASCRANGE"),
    ],
)
def test_waivers_leave_what_would_be_a_defect(statement: str, warning: str, tmp_path: Path) -> None:
    source = tmp_path / "defect.v"
    source.write_text(
        f"module defect(input [3:0] wide, output narrow);\n  {statement}\nendmodule\n"
    )
    done = lint(source, "defect")
    assert done.returncode != 0
    assert f"%Warning-{warning}" in done.stderr


@pytest.mark.parametrize("name", PRESETS)
def test_the_json_describes_the_verilog(name: str, tmp_path: Path) -> None:
    source, description = verilog_output.write_core(PRESETS[name], tmp_path)[:2]
    described = json.loads(description.read_text())
    ports = {port["name"]: (port["direction"], port["bits"]) for port in described["ports"]}
    assert ports == ports_of(source.read_text(), described["module"])
    assert Config(**described["config"]) == PRESETS[name]
    assert_tiles(described["structures"]["record"], ChannelRecord().size)


def test_the_bus_of_tiny_is_half_as_wide() -> None:
    """It suits a memory of 32 bits."""
    ports = []
    for config in (PRESETS["tiny"], PRESETS["small"]):
        described = verilog_output.describe(config, Core(config))["ports"]
        ports.append({port["name"]: port["bits"] for port in described})
    assert {name: bits for name, bits in ports[0].items() if ports[1][name] != bits} == {
        "m_axi_rdata": 32,
        "m_axi_wdata": 32,
        "m_axi_wstrb": 4,
    }


@pytest.mark.parametrize("name", ["small", "narrow", "default"])
def test_the_ports_of_these_presets_are_these(name: str) -> None:
    """Systems that contain a core rely on them. They have a bus of 64 bits."""
    config = PRESETS[name]
    ports = verilog_output.describe(config, Core(config))["ports"]
    assert [f"{p['direction']} {p['bits']} {p['name']}" for p in ports] == [
        port.strip() for port in PORTS.split(",")
    ]


def assert_tiles(rows: list[dict[str, Any]], bits: int) -> None:
    """Check that fields cover that many bits without gap or overlap."""
    at = 0
    for row in sorted(rows, key=lambda row: row["bit"]):
        assert row["bit"] == at, row["name"]
        at += row["bits"]
    assert at == bits


def test_the_same_configuration_gives_the_same_bytes(tmp_path: Path) -> None:
    """They are written by two processes, so nothing depends on a set's order or an address."""
    texts = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        subprocess.run(
            [sys.executable, "-m", "hw.verilog", "--config", "small", "--out", str(out)],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        )
        texts.append({file.name: file.read_bytes() for file in out.iterdir()})
    assert texts[0] == texts[1]
    assert texts[0].keys() == {
        "zapcore_small.v",
        "zapcore_small.json",
        "zapcore_small.core",
        "zapcore_small.sdc",
        "zapcore_small.xdc",
        "zapcore_small.lpf",
        "zapcore_file.h",
        "zapcore_registers.h",
        "zapcore.rdl",
        "registers.md",
    }


def test_the_command_prints_the_files_it_wrote(tmp_path: Path) -> None:
    file = tmp_path / "smallest.json"
    file.write_text(json.dumps(SMALLEST.to_dict()))
    done = run_cli("--config", str(file), "--out", str(tmp_path / "new" / "folder"))
    assert done.returncode == 0, done.stderr
    written = [Path(line) for line in done.stdout.splitlines()]
    assert sorted(written) == sorted((tmp_path / "new" / "folder").iterdir())
    assert {path.suffix for path in written} == {
        *(".v", ".json", ".core", ".sdc", ".xdc", ".lpf", ".h", ".rdl", ".md")
    }


@pytest.mark.parametrize("config", ["nonsense", "hw/contract/config.py"])
def test_a_bad_configuration_is_one_line_and_writes_nothing(config: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_cli("--config", config, "--out", str(out))
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(rf"error: [^\n]*{config}[^\n]*\n", done.stderr)
    assert not out.exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught:
        verilog_output.write_core(SMALLEST, tmp_path / "file")
    file = tmp_path / "file" / "zapcore_smallest.v"
    assert str(caught.value) == f"{file}: cannot be written: {tmp_path / 'file'} is not a folder"


def lint(source: Path, top: str) -> subprocess.CompletedProcess[str]:
    tool = toolchain.find("verilator")
    return subprocess.run(
        ["verilator", "--lint-only", "-Wall", str(LINT), str(source), "--top-module", top],
        env={**os.environ, **tool.environment, "PATH": tool.path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_target_has_the_blocks_of_its_device(tmp_path: Path) -> None:
    file = tmp_path / "smallest.json"
    file.write_text(json.dumps(SMALLEST.to_dict()))
    texts = {}
    for target in ("generic", "ecp5", "amd"):
        out = tmp_path / target
        done = run_cli("--config", str(file), "--target", target, "--out", str(out))
        assert done.returncode == 0, done.stderr
        texts[target] = (out / "zapcore_smallest.v").read_text()
    assert "MULT18X18D" in texts["ecp5"]
    assert "MULT18X18D" not in texts["generic"]
    assert "DSP48E1" not in texts["generic"]


def test_two_pes_share_the_blocks_of_amd(tmp_path: Path) -> None:
    """Their products are those of the array alone; one PE alone has no products to pair."""
    for pes, blocks in ((1, 0), (2, 8), (4, 16)):
        config = replace(SMALLEST, pes=pes)
        text = verilog_output.emit(Core(config), "core", Amd())
        # The array's module has an instance for each block, in a module of its own.
        assert len(re.findall(r"^  DSP48E1 #", text, re.MULTILINE)) == min(blocks, 1) * blocks


def test_ports_say_which_interface_they_belong_to(tmp_path: Path) -> None:
    source = verilog_output.write_core(SMALLEST, tmp_path)[0].read_text()
    buses = "ASSOCIATED_BUSIF m_axi:s_axil, ASSOCIATED_RESET rst"
    for parts in (
        ("signal:clock:1.0 clk CLK", f"clk, {buses}", "input clk;"),
        ("signal:reset:1.0 rst RST", "rst, POLARITY ACTIVE_HIGH", "input rst;"),
        (
            "signal:interrupt:1.0 irq INTERRUPT",
            "irq, SENSITIVITY LEVEL_HIGH, PortWidth 1",
            "output irq;",
        ),
        ("interface:aximm:1.0 m_axi RDATA", None, "input [31:0] m_axi_rdata;"),
        ("interface:aximm:1.0 s_axil WSTRB", None, "input [3:0] s_axil_wstrb;"),
    ):
        info, parameter, declaration = parts
        lines = [f'(* X_INTERFACE_INFO = "xilinx.com:{info}" *)']
        if parameter is not None:
            lines.append(f'(* X_INTERFACE_PARAMETER = "XIL_INTERFACENAME {parameter}" *)')
        assert source.count("\n  ".join(["", *lines, declaration])) == 1, info
    ports = verilog_output.describe(SMALLEST, Core(SMALLEST))["ports"]
    assert source.count("X_INTERFACE_INFO") == len(ports)
    names = re.findall(r"XIL_INTERFACENAME (\w+), ", source)
    assert sorted(names) == ["clk", "irq", "m_axi", "rst", "s_axil"]
    assert "PROTOCOL AXI4, DATA_WIDTH 32, ADDR_WIDTH 32, ID_WIDTH 2" in source
    assert "PROTOCOL AXI4LITE, DATA_WIDTH 32, ADDR_WIDTH 12" in source


def test_several_cores_are_marked_as_one_block(tmp_path: Path) -> None:
    system = System(config=SMALLEST, cores=2)
    source = verilog_output.write_cores(system, tmp_path)[0].read_text()
    ports = verilog_output.describe(SMALLEST, Core(SMALLEST))["ports"]
    assert source.count("X_INTERFACE_INFO") == len(ports)
    assert "PROTOCOL AXI4, DATA_WIDTH 64, ADDR_WIDTH 32, ID_WIDTH 3" in source
    assert "irq, SENSITIVITY LEVEL_HIGH, PortWidth 2" in source


def test_every_memory_says_that_collisions_do_not_matter() -> None:
    text = verilog_output.emit(Core(SMALLEST), "smallest")
    memories = re.findall(r"^  reg \[\d+:0\] \S+ \[\d+:0\];", text, re.MULTILINE)
    assert len(memories) == text.count("(* no_rw_check = 32'd1 *)") > 5
