"""The list of measured operating points: what is read is written again, byte for byte."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from golden.errors import UserError
from quant.points.results import MeasuredPoint, check_list, read_points, write_points

COMMITTED = Path(__file__).resolve().parents[3] / "docs/results/operating_points.json"
ENTRY = {"network": "net", "dataset": "noise", "method": "zap", "drop": 0.5, "mac_reduction": 0.25}


def test_the_committed_list_is_rewritten_as_it_is(tmp_path: Path) -> None:
    points = read_points(COMMITTED)
    assert len(points) > 50
    write_points(tmp_path / "points.json", points)
    assert (tmp_path / "points.json").read_bytes() == COMMITTED.read_bytes()


def test_a_later_measurement_replaces_an_earlier_one_of_the_same_kind(tmp_path: Path) -> None:
    file = tmp_path / "points.json"
    for changes in ({}, {"recalibrated": True}, {"recalibrated": True, "drop": 0.25}):
        write_points(file, [MeasuredPoint.model_validate(ENTRY | changes)])
    kept = [(point.recalibrated, point.drop) for point in read_points(file)]
    assert kept == [(False, 0.5), (True, 0.25)]


def test_fields_that_were_not_set_are_not_written_and_unknown_ones_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "points.json"
    entry = ENTRY | {"note": [1, {"a": None}], "pattern": None}
    file.write_text(json.dumps([entry]))
    write_points(file, [])
    assert json.loads(file.read_text()) == [entry]


def test_no_file_is_an_empty_list(tmp_path: Path) -> None:
    assert read_points(None) == read_points(tmp_path / "points.json") == []
    check_list(None)
    check_list(tmp_path / "points.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "not readable as JSON"),
        ("{}", "is no list of operating points"),
        ("[1]", "is no list of operating points"),
        (json.dumps([ENTRY, {"network": "net"}]), "entry 1: dataset: "),
        (json.dumps([ENTRY | {"drop": float("nan")}]), "entry 0: drop: "),
    ],
    ids=["no JSON", "no list", "no objects", "a field is missing", "NaN"],
)
def test_other_files_are_refused_and_kept(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "points.json"
    file.write_text(content)
    for refused in (read_points, check_list, lambda path: write_points(path, [])):
        with pytest.raises(UserError, match=re.escape(f"{file}: {message}")):
            refused(file)
    assert file.read_text() == content


def test_a_list_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        check_list(tmp_path / "file" / "points.json")
