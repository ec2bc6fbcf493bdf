"""The blocks of the engine as Verilog, each in its cocotb bench, on both simulators."""

from dataclasses import replace
from pathlib import Path

import pytest
from amaranth.lib.wiring import Component

from hw import verilog_output
from hw.contract.config import Config
from hw.engine.mac_array import MacArray
from hw.engine.pattern_scheduler import PatternScheduler
from hw.predictor.predictor import Predictor
from tb.runs.engine import LINT
from tb.simulators.build import build_design
from tb.simulators.run import run_bench
from tb.simulators.toolchain import SIMULATORS, Simulator
from tests.hw.small_configs import TINY

pytestmark = pytest.mark.sim

SEED = 1


@pytest.mark.parametrize("sim", SIMULATORS)
@pytest.mark.parametrize(
    ("bench", "block", "config", "count"),
    [
        ("pattern_scheduler", PatternScheduler, TINY, 50),
        ("predictor", Predictor, TINY, 12),
        ("predictor", Predictor, replace(TINY, predictor_dsps=8, predictor_tables=5), 6),
        ("predictor", Predictor, replace(TINY, predictor_positions=2), 12),
        ("predictor", Predictor, replace(TINY, predictor_positions=4, predictor_dsps=40), 12),
        ("mac_array", MacArray, TINY, 20),
        ("mac_array", MacArray, replace(TINY, pes=1, lanes=16), 10),
        ("mac_array", MacArray, replace(TINY, pes=4, lanes=32), 10),
    ],
    ids=[
        *("scheduler", "predictor", "predictor-tables", "predictor-2", "predictor-4"),
        *("array", "array-1x16", "array-4x32"),
    ],
)
def test_block_agrees_with_golden(
    bench: str,
    block: type[Component],
    config: Config,
    count: int,
    sim: Simulator,
    tmp_path: Path,
) -> None:
    source = tmp_path / f"{bench}.v"
    source.write_text(verilog_output.emit(block(config), bench))
    built = build_design(sim, [source, LINT], bench)
    values = {"config": config.to_dict(), "seed": SEED, "count": count}
    results = run_bench(
        built, f"tb.benches.{bench}", run_dir=tmp_path, values=values, seed=SEED, timeout=300
    )
    assert results.passed, f"seed {SEED}: {results.failures}"
    assert results.tests == 2
