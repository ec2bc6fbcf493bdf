"""Defects are planted where they are asked for, change what they say, and are nowhere else."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from golden.errors import UserError
from hw import verilog_output
from hw.contract.config import PRESETS
from hw.core.core import Core
from hw.core.dma import WritePort
from tb.paths import REPOSITORY
from tests.hw.small_configs import TINY
from tests.mutants import __main__ as command
from tests.mutants import component_tests, core_runs


def python(code: str) -> str:
    """Return what a program prints that has the sources of `hw` rewritten."""
    return subprocess.run(
        [sys.executable, "-c", "from tests.mutants import rewrite, sites\n" + code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def without_places(verilog: str) -> str:
    """Verilog without the lines of the sources that it comes from."""
    return re.sub(r"\(\* src = .*? \*\)\s*", "", verilog)


def test_the_products_verilog_contains_no_mutant() -> None:
    verilog = verilog_output.emit(Core(PRESETS["small"]), "core")
    assert "mutant" not in without_places(verilog).lower()


def test_rewritten_sources_without_a_defect_give_the_same_verilog() -> None:
    rewritten = python(
        "rewrite.install()\n"
        "from hw import verilog_output\n"
        "from hw.core.dma import WritePort\n"
        "from tests.hw.small_configs import TINY\n"
        "print(verilog_output.emit(WritePort(TINY), 'port'), end='')"
    )
    ours = verilog_output.emit(WritePort(TINY), "port")
    assert without_places(rewritten) == without_places(ours)


@pytest.mark.parametrize(
    ("defect", "outputs"),
    [
        ("", [0, 0, 1, 2]),
        ("hw/lib/pipeline.py delayed `later.eq(value)` not assigned", [0, 0, 0, 0]),
        ("hw/lib/pipeline.py delayed `m.If(enable)` never", [0, 0, 1, 2]),
    ],
)
def test_a_defect_that_is_planted_alone_changes_what_it_says(
    defect: str, outputs: list[int]
) -> None:
    """A constant condition is nothing that a defect could be planted in."""
    said = python(
        f"sites.ALONE.extend([{defect!r}] if {defect!r} else [])\n"
        "rewrite.install()\n"
        "from amaranth.hdl import Module, Signal\n"
        "from amaranth.sim import Simulator\n"
        "from hw.lib.pipeline import delayed\n"
        "m, i, o = Module(), Signal(8), Signal(8)\n"
        "m.d.comb += o.eq(delayed(m, i, 2))\n"
        "async def bench(context):\n"
        "    for value in range(4):\n"
        "        context.set(i, value + 1)\n"
        "        print(context.get(o))\n"
        "        await context.tick()\n"
        "simulator = Simulator(m)\n"
        "simulator.add_clock(1e-6)\n"
        "simulator.add_testbench(bench)\n"
        "simulator.run()\n"
    )
    assert [int(line) for line in said.split()] == outputs


def test_the_drawn_defects_are_from_every_file_and_always_the_same() -> None:
    every = [
        f"hw/{file}.py f `x` {n}" for file, count in (("a", 90), ("b", 9)) for n in range(count)
    ]
    drawn = command._draw(every, 22, 1)
    assert drawn == command._draw(every, 22, 1)
    assert sum(defect.startswith("hw/b.py") for defect in drawn) == 2
    assert len(set(drawn)) == 22


def test_every_equivalent_defect_has_a_reason() -> None:
    reasons = json.loads(command.EQUIVALENT.read_text())
    for defect, reason in reasons.items():
        assert (REPOSITORY / defect.split()[0]).is_file(), defect
        assert len(reason) > 20, defect


def test_component_tests_are_those_on_amaranths_simulator() -> None:
    files = {file.name for file in component_tests.component_files(component_tests.OF_CORE)}
    assert {"test_dma.py", "test_channel_window.py", "test_requantiser.py"} <= files
    assert "test_scenarios.py" not in files
    of_system = component_tests.component_files(component_tests.OF_SYSTEM)
    assert {file.name for file in of_system} == {
        "test_memory_interconnect.py",
        "test_memory_port.py",
        "test_register_decoder.py",
        "test_reset.py",
        "test_upsizer.py",
    }


def test_defects_in_what_joins_cores_run_in_component_tests_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The core's scenarios have one core."""
    asked: dict[str, list[str]] = {}

    def runs(stage: str, result: str) -> Callable[..., dict[str, str]]:
        def find(defects: list[str], on_progress: object, **_: object) -> dict[str, str]:
            asked[stage] = defects
            return dict.fromkeys(defects, result)

        return find

    monkeypatch.setattr(command, "_KEPT", tmp_path)
    monkeypatch.setattr(core_runs, "find", runs("core", "scenario"))
    monkeypatch.setattr(component_tests, "find", runs("components", "tests/hw/a.py::test"))
    both = ["hw/core/dma.py f `x` never", "hw/cores/upsizer.py g `y` never"]
    results = command._plant(both, {}, frozenset(both[1:]), math.inf)
    assert asked == {"core": both[:1], "components": both[1:]}
    assert list(results.values()) == ["scenario", "tests/hw/a.py::test"]


@pytest.mark.second
def test_what_joins_cores_has_defects_of_its_own() -> None:
    of_core, of_system = core_runs.reachable()
    assert of_system
    assert not {defect for defect in of_core if defect.startswith("hw/cores/")}
    assert {defect.split("/")[1] for defect in of_system} == {"cores"}


def test_files_without_anything_to_plant_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(core_runs, "reachable", lambda: (["hw/core/dma.py f `x` never"], []))
    monkeypatch.setattr(command, "EQUIVALENT", tmp_path / "equivalent.json")
    command.EQUIVALENT.write_text("{}")
    monkeypatch.setattr(sys, "argv", ["mutants", "--files", "hw/fpga"])
    with pytest.raises(UserError, match="nothing can be planted in hw/fpga"):
        command.main()


def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(core_runs, "reachable", lambda: pytest.fail("work began"))
    (tmp_path / "file").touch()
    for name in (".", "file/below"):
        monkeypatch.setattr(sys, "argv", ["mutants", "--json", str(tmp_path / name)])
        with pytest.raises(UserError):
            command.main()


@pytest.mark.second
@pytest.mark.sim
def test_a_few_defects_are_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They lie in files of which `docs/results/planted_defects.txt` has found every defect."""
    names = ("counter_store", "descriptor_reader", "dma", "memory_requests", "word_assembler")
    files = [f"hw/core/{name}.py" for name in names]
    monkeypatch.setattr(sys, "argv", ["mutants", "--n", "10", "--seed", "1", "--files", *files])
    assert command.main() == 0
    assert "defects that are not equivalent are found" in capsys.readouterr().out
