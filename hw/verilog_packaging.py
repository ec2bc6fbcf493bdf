"""Files and attributes that tools need to use the core: interfaces, constraints, FuseSoC."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hw.contract.program import VERSION

__all__ = ["constraints", "fusesoc", "mark_interfaces"]

_MHZ = 100
_INNER = "of the core alone: its clock. Inside of a system, the system's own constraints count."
_BUSES = {"m_axi": "AXI4", "s_axil": "AXI4LITE"}


def constraints() -> dict[str, str]:
    """Texts that say how fast the core's clock is, by their files' suffixes."""
    clock = f"create_clock -name clk -period {1000 / _MHZ} [get_ports clk]\n"
    return {
        "sdc": f"# Constraints {_INNER} The period is in ns.\n{clock}",
        "xdc": f"# Constraints for Vivado {_INNER} The period is in ns.\n{clock}",
        "lpf": f'# Constraints for ECP5 {_INNER}\nFREQUENCY PORT "clk" {_MHZ} MHZ;\n',
    }


def fusesoc(name: str) -> str:
    """A description of the core for FuseSoC (CAPI2); its version is that of the programs."""
    return f"""CAPI=2:
name: "::{name}:{VERSION}.0.0"
description: "zapcore, an accelerator of ReLU CNNs that skips activations predicted to be zero"

filesets:
  rtl:
    files: [{name}.v]
    file_type: verilogSource
  constraints:
    files: [{name}.sdc]
    file_type: SDC

targets:
  default:
    filesets: [rtl]
    toplevel: {name}
  lint:
    filesets: [rtl]
    toplevel: {name}
    flow: lint
    flow_options:
      tool: verilator
      verilator_options: [-Wno-fatal]
"""


def mark_interfaces(text: str, about: dict[str, Any]) -> str:
    """Mark the ports of a module with the interfaces that they belong to.

    The attributes are those that AMD's IP integrator reads (UG994): it then connects buses, clock,
    reset and interrupt as a whole. Other tools do not look at them.

    Parameters
    ----------
    text : str
        Verilog.
    about : dict
        What `hw.verilog_output.describe` says of the module.
    """
    module = about["module"]
    bits = {port["name"]: port["bits"] for port in about["ports"]}
    begin = text.index(f"\nmodule {module}(")
    end = text.index("\nendmodule", begin)
    seen: set[str] = set()

    def marked(port: re.Match[str]) -> str:
        name = port["name"]
        interface, info = _interface(name)
        attributes = {"X_INTERFACE_INFO": info}
        if interface not in seen:
            seen.add(interface)
            attributes["X_INTERFACE_PARAMETER"] = _parameters(interface, bits)
        lines = "".join(f'  (* {key} = "{value}" *)\n' for key, value in attributes.items())
        return lines + port[0]

    declaration = re.compile(r"^  (?:in|out)put (?:\[\d+:0\] )?(?P<name>\w+);", re.MULTILINE)
    return text[:begin] + declaration.sub(marked, text[begin:end]) + text[end:]


def _interface(port: str) -> tuple[str, str]:
    """The interface of a port, and what the port is there."""
    single = {"clk": "clock:1.0 clk CLK", "rst": "reset:1.0 rst RST"}
    single["irq"] = "interrupt:1.0 irq INTERRUPT"
    if port in single:
        return port, f"xilinx.com:signal:{single[port]}"
    bus = next(bus for bus in _BUSES if port.startswith(f"{bus}_"))
    signal = port.removeprefix(f"{bus}_").upper()
    return bus, f"xilinx.com:interface:aximm:1.0 {bus} {signal}"


def _parameters(interface: str, bits: Mapping[str, int]) -> str:
    if interface in _BUSES:
        widths = [("DATA", "rdata"), ("ADDR", "araddr"), ("ID", "arid")]
        given = f"PROTOCOL {_BUSES[interface]}" + "".join(
            f", {name}_WIDTH {bits[port]}"
            for name, signal in widths
            if (port := f"{interface}_{signal}") in bits
        )
    else:
        given = {
            "clk": f"ASSOCIATED_BUSIF {':'.join(_BUSES)}, ASSOCIATED_RESET rst",
            "rst": "POLARITY ACTIVE_HIGH",
            "irq": f"SENSITIVITY LEVEL_HIGH, PortWidth {bits['irq']}",
        }[interface]
    return f"XIL_INTERFACENAME {interface}, {given}"
