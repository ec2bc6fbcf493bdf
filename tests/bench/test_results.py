"""`make results` runs each step that it can, once, and names the others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.pipeline import Step, run_steps
from bench.result_steps import NETWORKS, result_steps
from golden.errors import UserError


def step(name: str, reads: list[Path], makes: Path, code: str = "") -> Step:
    """A step that writes its own name, or runs `code`."""
    code = code or f"open({str(makes)!r}, 'a').write({name!r})"
    return Step(name, ["-c", code], reads, [makes])


def test_steps_run_once_and_again_when_what_they_read_is_newer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    plan = [step("a", [], first), step("b", [first], second)]
    run_steps(plan)
    assert (first.read_text(), second.read_text()) == ("a", "b")
    capsys.readouterr()
    run_steps(plan)
    assert capsys.readouterr().out.splitlines() == ["up to date: a", "up to date: b"]
    later = second.stat().st_mtime + 10
    os.utime(first, (later, later))
    run_steps(plan)
    assert (first.read_text(), second.read_text()) == ("a", "bb")
    run_steps(plan, force=True)
    assert (first.read_text(), second.read_text()) == ("aa", "bbb")


def test_a_step_without_its_data_is_skipped_and_so_is_what_needs_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, made, last = tmp_path / "data", tmp_path / "made", tmp_path / "last"
    other = tmp_path / "other"
    run_steps([step("a", [data], made), step("b", [made], last), step("c", [], other)])
    skipped = [line for line in capsys.readouterr().out.splitlines() if "skipped" in line]
    assert skipped == [f"skipped a: {data} is not there", f"skipped b: {made} is not there"]
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_step_that_fails_ends_it(tmp_path: Path) -> None:
    plan = [step("a", [], tmp_path / "a", "raise SystemExit(3)"), step("b", [], tmp_path / "b")]
    with pytest.raises(UserError, match="a: ended with status 3"):
        run_steps(plan)
    assert not list(tmp_path.iterdir())


def test_what_a_step_prints_becomes_a_product_when_it_ends_well(tmp_path: Path) -> None:
    file = tmp_path / "out.txt"
    run_steps([Step("a", ["-c", "print('text')"], [], [file], stdout=file)])
    assert file.read_text() == "text\n"
    failing = Step("a", ["-c", "print(1); raise SystemExit(1)"], [], [file], stdout=file)
    with pytest.raises(UserError, match="a: ended with status 1"):
        run_steps([failing], force=True)
    assert file.read_text() == "text\n"


def test_folders_with_blanks_stay_whole_and_given_weights_need_no_training(tmp_path: Path) -> None:
    data, weights = tmp_path / "my data", tmp_path / "my weights"
    weights.mkdir()
    plan = result_steps(data, weights)
    trained = [network for network in NETWORKS if network.trains]
    assert [s.name for s in plan if s.name.endswith(": training")] == [
        f"{network.name}: training" for network in trained
    ]
    for network in trained:
        (weights / network.weights).touch()
    plan = result_steps(data, weights)
    assert not [s.name for s in plan if s.name.endswith(": training")]
    for network in trained:
        export = next(s for s in plan if s.name == f"{network.name}: bundle")
        assert str(weights / network.weights) in export.command
        assert str(data) in export.command


def test_every_step_reads_what_is_given_or_made_before_it(tmp_path: Path) -> None:
    made: set[Path] = set()
    for s in result_steps(tmp_path / "data", tmp_path / "weights"):
        for path in s.reads:
            assert path in made or path.is_relative_to(tmp_path) or path.exists(), s.name
        made.update(s.makes)
    assert {path for path in made if path.parent == Path("docs/results")} >= {
        Path("docs/results/demo.txt"),
        Path("docs/results/resnet20_patterns.json"),
    }
