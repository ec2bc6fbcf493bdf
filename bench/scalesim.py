"""Runs SCALE-Sim on the same layers: the peer without skipping.

SCALE-Sim (https://github.com/scalesim-project/scale-sim-v2) simulates a systolic array. It is run
as published, in an environment of its own: output stationary, as many multipliers as the core, in
an array as square as powers of two allow, and on-chip memories of the core's sizes. Each of its
three interfaces has the bandwidth that the core has for everything.
"""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import tempfile
from pathlib import Path

from bench.measure import MeasuredLayer, Measurement
from golden.arithmetic import ceil_div
from golden.errors import UserError
from golden.files import write_file
from golden.reading import read_json
from hw.contract.config import Config

__all__ = ["COMMITTED", "MOST_MACS", "array_shape", "cycles", "unstalled_cycles"]

MOST_MACS = 20_000_000
"""The most MACs of a layer that is run by default. SCALE-Sim takes a minute for such a layer, and
longer where the array stalls."""

COMMITTED = Path("docs/results/bench")
"""The committed results of `bench.speed`."""
_FILE = "scalesim.json"

_CONFIG = """\
[general]
run_name = run
[architecture_presets]
ArrayHeight : {height}
ArrayWidth : {width}
IfmapSramSzkB : {ifm}
FilterSramSzkB : {filters}
OfmapSramSzkB : {ofm}
IfmapOffset : 0
FilterOffset : 100000000
OfmapOffset : 200000000
Dataflow : os
Bandwidth : {bandwidth}
ReadRequestBuffer : 32
WriteRequestBuffer : 32
[layout]
IfmapCustomLayout : False
IfmapSRAMBankBandwidth : 10
IfmapSRAMBankNum : 10
IfmapSRAMBankPort : 2
FilterCustomLayout : False
FilterSRAMBankBandwidth : 10
FilterSRAMBankNum : 10
FilterSRAMBankPort : 2
[sparsity]
SparsitySupport : false
SparseRep : ellpack_block
OptimizedMapping : false
BlockSize : 8
RandomNumberGeneratorSeed : 40
[run_presets]
InterfaceBandwidth : USER
UseRamulatorTrace : False
"""
_TOPOLOGY = (
    "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, "
    "Strides, Sparsity,"
)
_LAYOUT_NUMBERS = ", ".join(["1"] * 6 + [str(n) for n in (*range(6), *range(8))])
"""SCALE-Sim reads these numbers but does not use them without a custom layout."""


def array_shape(multipliers: int) -> tuple[int, int]:
    """Return (rows, columns), both powers of two, with at most as many rows as columns."""
    rows = 1 << (int(math.log2(multipliers)) // 2)
    return rows, multipliers // rows


def unstalled_cycles(config: Config, layer: MeasuredLayer) -> int:
    """Return the cycles of a layer on that array if its memory never stalls: a lower bound.

    A fold is `rows` pixels of `columns` channels. With T products for each activation it takes
    T + rows + columns - 2 cycles.
    """
    rows, columns = array_shape(config.multipliers)
    channels, height, width = layer.ofm
    folds = ceil_div(height * width, rows) * ceil_div(channels, columns)
    products = layer.ifm[0] * layer.kernel[0] * layer.kernel[1]
    return folds * (products + rows + columns - 2)


def _known(folder: Path) -> dict[str, int]:
    """Read the cycles that are known, from that folder and from the committed results."""
    known: dict[str, int] = {}
    for file in (COMMITTED / _FILE, folder / _FILE):
        if file.exists():
            known |= read_json(file)
    return known


def cycles(
    measurement: Measurement, folder: Path, python: Path | None, most_macs: int
) -> dict[str, int]:
    """Return the cycles of convolutions, prefetch included, as far as they are known.

    `python` is an interpreter with `bench/requirements-scalesim.txt` installed, or None. With it,
    layers of at most `most_macs` MACs are run, and their cycles are kept in `folder`. Raises
    UserError where SCALE-Sim fails.
    """
    config = measurement.config
    known = _known(folder)
    result = {}
    for layer in measurement.layers:
        if not layer.convolution:
            continue
        row = _row(layer)
        key = f"{row} {config.multipliers} {config.bus_bytes} {_memories(config)}"
        if python is not None and key not in known and layer.macs <= most_macs:
            known[key] = _run(config, row, python)
            write_file(folder / _FILE, json.dumps(known, indent=1) + "\n")
        if key in known:
            result[layer.name] = known[key]
    return result


def _row(layer: MeasuredLayer) -> str:
    channels, height, width = layer.ifm
    numbers = (height, width, *layer.kernel, channels, layer.ofm[0], layer.stride[0])
    return "layer, " + ", ".join(map(str, numbers)) + ", 1:1,"


def _memories(config: Config) -> tuple[int, int, int]:
    """Return the sizes of the memories for ifm, weights and ofm in KiB."""
    sizes = (
        config.ifm_words * config.lanes,
        config.weight_words * config.lanes,
        2 * config.ofm_words * config.group,
    )
    ifm, filters, ofm = (max(size >> 10, 1) for size in sizes)
    return ifm, filters, ofm


def _run(config: Config, row: str, python: Path) -> int:
    height, width = array_shape(config.multipliers)
    ifm, filters, ofm = _memories(config)
    with tempfile.TemporaryDirectory(prefix="zapcore-scalesim-") as scratch:
        folder = Path(scratch)
        (folder / "run.cfg").write_text(
            _CONFIG.format(
                height=height,
                width=width,
                ifm=ifm,
                filters=filters,
                ofm=ofm,
                bandwidth=config.bus_bytes,
            )
        )
        (folder / "topology.csv").write_text(f"{_TOPOLOGY}\n{row}\n")
        (folder / "layout.csv").write_text(f"Layer name,\nlayer, {_LAYOUT_NUMBERS},\n")
        options = "-c run.cfg -t topology.csv -l layout.csv -p out -i conv -s N"
        command = [str(python.absolute()), "-m", "scalesim.scale", *options.split()]
        # It would spend a third of its time on progress bars that nobody sees.
        environment = os.environ | {"TQDM_DISABLE": "1"}
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        report = folder / "out" / "run" / "COMPUTE_REPORT.csv"
        if done.returncode != 0 or not report.exists():
            said = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
            raise UserError(f"SCALE-Sim failed on a layer ({row}): {said}")
        with report.open() as file:
            (line,) = csv.DictReader(file, skipinitialspace=True)
        return round(float(line["Total Cycles (incl. prefetch)"]))
