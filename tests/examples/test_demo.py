"""The operating point that the demo takes, and what it says of it."""

from __future__ import annotations

import pytest

from examples import demo
from golden.manifest import OperatingPoint, TimeChoice


def point(name: str, *left_out: str, by_time: bool = True) -> OperatingPoint:
    choice = TimeChoice(config="tiny", speed_up=1.25, left_out=list(left_out))
    return OperatingPoint(name=name, layers={}, by_time=choice if by_time else None)


@pytest.mark.parametrize(
    ("points", "taken"),
    [
        ([point("default", by_time=False)], "default"),
        ([point("default", by_time=False), point("quick"), point("quicker")], "quick"),
    ],
)
def test_it_takes_the_first_point_that_was_chosen_by_cycles(
    points: list[OperatingPoint], taken: str
) -> None:
    assert demo._first_by_time(points) == taken


def test_it_says_for_which_core_a_point_was_chosen_and_what_is_left_out() -> None:
    assert demo._how_chosen(point("default", by_time=False)) == "default"
    assert demo._how_chosen(point("quick")) == "quick, chosen by the cycles of zapcore_tiny"
    assert demo._how_chosen(point("quick", "conv5", "conv6")) == (
        "quick, chosen by the cycles of zapcore_tiny, without ZAP in conv5, conv6"
    )
