"""`make verilog`: the core as one Verilog file, and what its users must know.

`python -m hw.verilog --config small|default|FILE [--out DIR]` writes `DIR/zapcore_NAME.v`,
`DIR/zapcore_NAME.json` (parameters and ports), `DIR/zapcore.h` (registers for a C program) and
`DIR/registers.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

from amaranth.back import verilog
from amaranth.hdl import Shape
from amaranth.lib import data, wiring

from golden.errors import UserError, run_cli
from hw.contract.config import PRESETS, Config
from hw.contract.registers import c_header, markdown
from hw.core.core import Core
from hw.engine.engine import LayerEngine
from hw.layouts.descriptor import ChannelRecord

__all__ = ["emit", "engine_name", "interface", "module_name", "write", "write_engine"]

_CLOCK_AND_RESET = {"clk": "in", "rst": "in"}


def emit(component: wiring.Component, name: str, platform: object = None) -> str:
    """The Verilog text of a component; its ports are named as its signature names them.

    It is for any device, or for that of `platform` alone (`hw.lib.multiplier`,
    `hw.lib.register_copies`).
    """
    return verilog.convert(component, name=name, platform=platform, strip_internal_attrs=True)


def interface(config: Config, core: Core) -> dict:
    """What a user of the Verilog must know: parameters, ports, and the channel record."""
    ports = [
        {"name": port, "direction": direction, "bits": 1}
        for port, direction in _CLOCK_AND_RESET.items()
    ]
    for path, member, value in core.signature.flatten(core):
        ports.append(
            {
                "name": "__".join(str(part) for part in path),
                "direction": "in" if member.flow == wiring.In else "out",
                "bits": Shape.cast(value.shape()).width,
            }
        )
    return {
        "module": module_name(config),
        "config": config.to_dict(),
        "ports": ports,
        "structures": {"record": _fields(ChannelRecord())},
    }


def module_name(config: Config) -> str:
    """The core's name."""
    return f"zapcore_{config.name}"


def engine_name(config: Config) -> str:
    """The layer engine's name where it stands alone."""
    return f"{module_name(config)}_engine"


def write(config: Config, folder: Path) -> list[Path]:
    """Write the core and its descriptions; each file appears under its name when it is whole."""
    core = Core(config)
    name = module_name(config)
    return _write(
        folder,
        {
            f"{name}.v": emit(core, name),
            f"{name}.json": json.dumps(interface(config, core), indent=2) + "\n",
            "zapcore.h": c_header(),
            "registers.md": markdown(),
        },
    )


def write_engine(config: Config, folder: Path) -> Path:
    """Write the layer engine alone, for benches."""
    name = engine_name(config)
    return _write(folder, {f"{name}.v": emit(LayerEngine(config), name)})[0]


def _write(folder: Path, texts: dict[str, str]) -> list[Path]:
    files = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            file = folder / name
            # A name of its own: two simulators may be built, from two threads, at the same time.
            with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as scratch:
                scratch.write(text)
            Path(scratch.name).chmod(0o644)
            os.replace(scratch.name, file)
            files.append(file)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written: {error.strerror}; choose another --out"
        ) from None
    return files


def _fields(layout: data.Layout, offset: int = 0) -> list[dict]:
    """Name, first bit and width of every field, nested ones with dots."""
    rows = []
    for name, field in layout:
        if isinstance(field.shape, data.StructLayout):
            for row in _fields(field.shape, offset + field.offset):
                rows.append({**row, "name": f"{name}.{row['name']}"})
        else:
            rows.append({"name": name, "bit": offset + field.offset, "bits": field.width})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="hw.verilog", description=__doc__)
    parser.add_argument("--config", default="default", help=f"{', '.join(PRESETS)}, or a JSON file")
    parser.add_argument(
        "--out", type=Path, default=Path("build/verilog"), help="folder to write to"
    )
    arguments = parser.parse_args()
    for file in write(Config.load(arguments.config), arguments.out):
        print(file)


if __name__ == "__main__":
    run_cli(main)
