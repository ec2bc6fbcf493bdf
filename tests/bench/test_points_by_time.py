"""The list of points by MACs and by cycles."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench import points_by_time
from golden.errors import UserError

ROW = points_by_time.Compared(
    network="one",
    config="small",
    chosen="by-macs",
    error=0.1,
    drop=0.5,
    mac_reduction=0.2,
    zaps=3,
    cycles_off=300,
    cycles_on=240,
    slower=["conv2"],
    model_speed_up=1.2,
)


def entries(file: Path) -> list[tuple[str, str, str, float]]:
    found = json.loads(file.read_text())
    return [(e["network"], e["config"], e["chosen"], e["speed_up"]) for e in found]


def test_rows_take_the_place_of_older_ones_of_the_same_network_and_core(tmp_path: Path) -> None:
    file = tmp_path / "list.json"
    points_by_time._add_to_list(file, [ROW, replace(ROW, chosen="by-cycles", cycles_on=200)])
    points_by_time._add_to_list(file, [replace(ROW, network="two", cycles_on=None)])
    points_by_time._add_to_list(file, [replace(ROW, config="default")])
    points_by_time._add_to_list(file, [replace(ROW, cycles_on=150)])
    assert entries(file) == [
        ("two", "small", "by-macs", None),
        ("one", "default", "by-macs", 1.25),
        ("one", "small", "by-macs", 2.0),
    ]


@pytest.mark.parametrize("content", ["{}", "[1]"])
def test_another_file_is_left_alone(tmp_path: Path, content: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(content)
    with pytest.raises(UserError, match=r"other\.json: is no list of points"):
        points_by_time._add_to_list(file, [ROW])
    assert file.read_text() == content
