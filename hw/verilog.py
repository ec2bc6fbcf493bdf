"""`make verilog`: the engine as one Verilog file, and a JSON of its parameters and ports.

`python -m hw.verilog --config small|default|FILE [--out DIR]` writes `DIR/zapcore_NAME.v` and
`DIR/zapcore_NAME.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from pathlib import Path

from amaranth.back import verilog
from amaranth.hdl import Shape
from amaranth.lib import wiring

from golden.errors import UserError, run_cli
from hw.config import PRESETS, Config
from hw.descriptor import COUNTERS, ChannelRecord, CounterBlock, LayerDescriptor
from hw.engine import LayerEngine

__all__ = ["emit", "interface", "write"]


def emit(component: wiring.Component, name: str) -> str:
    """The Verilog text of a component, its ports named as its signature does."""
    with warnings.catch_warnings():
        # Amaranth warns of an unused elaboratable when a port lookup fails halfway; not our concern.
        return verilog.convert(component, name=name, strip_internal_attrs=True)
