"""What SCALE-Sim says of the same layers: the dense peer, a systolic array of as many multipliers.

SCALE-Sim (https://github.com/scalesim-project/scale-sim-v2) is run as published, in an environment
of its own: output stationary, an array as square as a power of two allows, on-chip memories of the
size of the core's, and for each of its three interfaces the bandwidth that the core has for all.
"""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import tempfile
from pathlib import Path

from bench.measure import Layer, Measurement
from golden.errors import UserError
from hw.contract.config import Config

__all__ = ["COMMITTED", "MOST_MACS", "array_shape", "cycles", "unstalled_cycles"]

MOST_MACS = 20_000_000
"""Of a layer that is run unless more are asked for; SCALE-Sim takes a minute for one of so many,
more where it stalls."""

COMMITTED = Path("docs/results/bench")
"""Where what `bench.speed` measured is kept."""
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
"""Read but not used without a custom layout."""


def array_shape(multipliers: int) -> tuple[int, int]:
    """(rows, columns), both powers of two, at most as many rows as columns."""
    rows = 1 << (int(math.log2(multipliers)) // 2)
    return rows, multipliers // rows


def unstalled_cycles(config: Config, layer: Layer) -> int:
    """Cycles of a layer on the same array with a memory that never stalls: the fewest there can be.

    A fold is `rows` pixels of `columns` channels; it takes T + rows + columns - 2 cycles for T
    products each.
    """
    rows, columns = array_shape(config.multipliers)
    channels, height, width = layer.ofm
    folds = -(-height * width // rows) * -(-channels // columns)
    products = layer.ifm[0] * layer.kernel[0] * layer.kernel[1]
    return folds * (products + rows + columns - 2)


def _known(folder: Path) -> dict[str, int]:
    """What is known, by layer and array: in that folder, and for the committed results."""
    known: dict[str, int] = {}
    for file in (COMMITTED / _FILE, folder / _FILE):
        if file.exists():
            known |= json.loads(file.read_text())
    return known


def cycles(
    measurement: Measurement, folder: Path, python: Path | None, most_macs: int
) -> dict[str, int]:
    """Cycles of convolutions, prefetch included: those that are known, and of at most so many MACs.

    The latter are run where there is a `python` that has `bench/requirements-scalesim.txt`
    installed, and then known in `folder`. Raises UserError where SCALE-Sim fails.
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
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _FILE).write_text(json.dumps(known, indent=1) + "\n")
        if key in known:
            result[layer.name] = known[key]
    return result


def _row(layer: Layer) -> str:
    channels, height, width = layer.ifm
    numbers = (height, width, *layer.kernel, channels, layer.ofm[0], layer.stride[0])
    return "layer, " + ", ".join(map(str, numbers)) + ", 1:1,"


def _memories(config: Config) -> tuple[int, int, int]:
    """KiB for ifm, weights and ofm."""
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
        # A third of its time goes into progress bars that nobody sees.
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
