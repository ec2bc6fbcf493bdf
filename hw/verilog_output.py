"""Verilog of the core and of its parts, and the files that describe the core to its users."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from amaranth.back import verilog
from amaranth.hdl import Fragment
from amaranth.hdl._ir import PortDirection
from amaranth.hdl._mem import MemoryInstance
from amaranth.lib import data, wiring

from golden.files import check_writable_file, write_file
from hw.contract.c_headers import C_HEADERS
from hw.contract.config import Config
from hw.contract.registers import markdown
from hw.contract.system import System
from hw.contract.systemrdl import systemrdl
from hw.core.core import Core
from hw.core.ports import named_ports
from hw.cores.cores import Cores
from hw.engine.engine import LayerEngine
from hw.layouts.descriptor import ChannelRecord
from hw.verilog_packaging import constraints, fusesoc, mark_interfaces

__all__ = [
    "core_name",
    "cores_name",
    "describe",
    "emit",
    "engine_name",
    "write_core",
    "write_cores",
    "write_engine",
]

_CLOCK_AND_RESET = {"clk": "in", "rst": "in"}
# Amaranth's `verilog.convert` asks for these, but no public module of Amaranth has them.
_DIRECTIONS = {wiring.In: PortDirection.Input, wiring.Out: PortDirection.Output}


def core_name(config: Config) -> str:
    """Return the name of the core's Verilog module."""
    return f"zapcore_{config.name}"


def cores_name(system: System) -> str:
    """Return the name of the Verilog module of several cores."""
    return f"{core_name(system.config)}_{system.cores}cores"


def engine_name(config: Config) -> str:
    """Return the name of the layer engine's Verilog module where it stands alone."""
    return f"{core_name(config)}_engine"


def emit(component: wiring.Component, name: str, platform: object = None) -> str:
    """Return the Verilog text of a component as a module of that name.

    The text is for any device, or for that of `platform` alone (`hw.lib.multiplier`,
    `hw.lib.register_copies`).
    """
    fragment = Fragment.get(component, platform)
    _allow_collisions(fragment)
    return verilog.convert(
        fragment,
        name=name,
        platform=platform,
        ports={port: (value, _DIRECTIONS[flow]) for port, flow, value in named_ports(component)},
        strip_internal_attrs=True,
    )


def _allow_collisions(fragment: Any) -> None:
    """Mark every memory as one whose reads do not care about a write to the same word.

    The core throws away what it reads from a word while it writes there. Yosys keeps that value by
    extra block RAMs and logic unless it finds this attribute, or is given `-no-rw-check`.
    """
    for part, *_ in fragment.subfragments:
        if isinstance(part, MemoryInstance):
            memory: Any = part  # the stubs have another name for its attributes
            memory._attrs["no_rw_check"] = 1
        else:
            _allow_collisions(part)


def describe(config: Config, component: Core | Cores) -> dict[str, Any]:
    """Return parameters, ports and the channel record of cores, for users of their Verilog."""
    ports = [
        {"name": port, "direction": direction, "bits": 1}
        for port, direction in _CLOCK_AND_RESET.items()
    ]
    for name, flow, value in named_ports(component):
        direction = "in" if flow == wiring.In else "out"
        ports.append({"name": name, "direction": direction, "bits": len(value)})
    return {
        "module": core_name(config),
        "config": config.to_dict(),
        "ports": ports,
        "structures": {"record": _fields(ChannelRecord())},
    }


def write_core(config: Config, folder: Path, platform: object = None) -> list[Path]:
    """Write the core's Verilog and the files that describe it; returns their paths.

    The Verilog is for any device, or for that of `platform` alone (see `emit`).
    Each file is written whole. Raises UserError where one cannot be written.
    """
    name = core_name(config)
    _check_writable(name, folder)
    core = Core(config)
    document = describe(config, core)
    return _write_all(name, folder, emit(core, name, platform), document)


def write_cores(system: System, folder: Path, platform: object = None) -> list[Path]:
    """Write the Verilog of several cores on one memory port, as `write_core` writes one.

    It has the module of a single core once, as `write_core` has it, and instances of it.
    """
    config, name = system.config, cores_name(system)
    _check_writable(name, folder)
    cores = Cores(system, core_name(config))
    document = {
        **describe(config, cores),
        "module": name,
        "cores": system.cores,
        "memory_bits": system.memory_bits,
    }
    verilog_text = emit(Core(config), core_name(config), platform) + emit(cores, name, platform)
    return _write_all(name, folder, verilog_text, document)


def _own_files(name: str) -> list[str]:
    """Names of the files of one module; those of all cores have names of their own."""
    return [f"{name}.{suffix}" for suffix in ("v", "json", "core", *constraints())]


def _check_writable(name: str, folder: Path) -> None:
    for file in (*_own_files(name), *C_HEADERS, "zapcore.rdl", "registers.md"):
        check_writable_file(folder / file)


def _write_all(name: str, folder: Path, verilog_text: str, document: dict[str, Any]) -> list[Path]:
    """Write a module's Verilog and description, and what belongs to every core."""
    own = [
        mark_interfaces(verilog_text, document),
        json.dumps(document, indent=2) + "\n",
        fusesoc(name),
        *constraints().values(),
    ]
    texts = {
        **dict(zip(_own_files(name), own, strict=True)),
        **{header: text() for header, text in C_HEADERS.items()},
        "zapcore.rdl": systemrdl(),
        "registers.md": markdown(),
    }
    return [write_file(folder / file, text) for file, text in texts.items()]


def write_engine(config: Config, folder: Path) -> Path:
    """Write the Verilog of the layer engine alone, for benches; returns its path."""
    name = engine_name(config)
    return write_file(folder / f"{name}.v", emit(LayerEngine(config), name))


def _fields(layout: data.Layout, offset: int = 0) -> list[dict[str, Any]]:
    """Name, first bit and width of every field; names of nested fields are joined by dots."""
    rows = []
    for name, field in layout:
        if isinstance(field.shape, data.StructLayout):
            for row in _fields(field.shape, offset + field.offset):
                rows.append({**row, "name": f"{name}.{row['name']}"})
        else:
            rows.append({"name": name, "bit": offset + field.offset, "bits": field.width})
    return rows
