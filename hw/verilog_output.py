"""Verilog of the core and of its parts, and the files that describe the core to its users."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from amaranth.back import verilog
from amaranth.hdl import Fragment, Value
from amaranth.hdl._ir import PortDirection
from amaranth.hdl._mem import MemoryInstance
from amaranth.lib import data, wiring

from golden.files import check_writable_file, write_file
from hw.contract.c_headers import C_HEADERS
from hw.contract.config import Config
from hw.contract.registers import markdown
from hw.contract.systemrdl import systemrdl
from hw.core.axi import Axi4LiteSignature, Axi4Signature
from hw.core.core import Core
from hw.engine.engine import LayerEngine
from hw.layouts.descriptor import ChannelRecord
from hw.verilog_packaging import constraints, fusesoc, mark_interfaces

__all__ = ["core_name", "describe", "emit", "engine_name", "write_core", "write_engine"]

_CLOCK_AND_RESET = {"clk": "in", "rst": "in"}
# Amaranth's `verilog.convert` asks for these, but no public module of Amaranth has them.
_DIRECTIONS = {wiring.In: PortDirection.Input, wiring.Out: PortDirection.Output}


def core_name(config: Config) -> str:
    """Return the name of the core's Verilog module."""
    return f"zapcore_{config.name}"


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
        ports={port: (value, _DIRECTIONS[flow]) for port, flow, value in _ports(component)},
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


def describe(config: Config, core: Core) -> dict[str, Any]:
    """Return parameters, ports and the channel record of a core, for users of its Verilog."""
    ports = [
        {"name": port, "direction": direction, "bits": 1}
        for port, direction in _CLOCK_AND_RESET.items()
    ]
    for name, flow, value in _ports(core):
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
    limits = {f"{name}.{suffix}": text for suffix, text in constraints().items()}
    own = (f"{name}.{suffix}" for suffix in ("v", "json", "core"))
    for file in (*own, *limits, *C_HEADERS, "zapcore.rdl", "registers.md"):
        check_writable_file(folder / file)
    core = Core(config)
    texts = {
        f"{name}.v": mark_interfaces(emit(core, name, platform), name, config),
        f"{name}.json": json.dumps(describe(config, core), indent=2) + "\n",
        f"{name}.core": fusesoc(name),
        **limits,
        **{header: text() for header, text in C_HEADERS.items()},
        "zapcore.rdl": systemrdl(),
        "registers.md": markdown(),
    }
    return [write_file(folder / file, text) for file, text in texts.items()]


def write_engine(config: Config, folder: Path) -> Path:
    """Write the Verilog of the layer engine alone, for benches; returns its path."""
    name = engine_name(config)
    return write_file(folder / f"{name}.v", emit(LayerEngine(config), name))


def _ports(component: wiring.Component) -> Iterator[tuple[str, wiring.Flow, Value]]:
    """Name, direction and signal of each port.

    A port of an AXI bus is named as that is everywhere: `m_axi_araddr`. Names of other nested ports
    are joined by two underscores, as Amaranth does.
    """
    for path, member, value in component.signature.flatten(component):
        first, *rest = map(str, path)
        if _is_axi(component.signature.members[first]):
            name = f"{first}_{rest[-1]}"
        else:
            name = "__".join([first, *rest])
        yield name, member.flow, Value.cast(value)


def _is_axi(member: wiring.Member) -> bool:
    return member.is_signature and isinstance(member.signature, Axi4Signature | Axi4LiteSignature)


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
