"""Patterns: their masks, and the texts that stand for them."""

from __future__ import annotations

import numpy as np
import pytest

from golden.errors import UserError
from golden.pattern import FULL, MASKS, Pattern


@pytest.mark.parametrize(
    "text", ["A", "B", "C", "D", "1:1", "5:10000:2", "3:001:0", "16:" + "10" * 8]
)
def test_a_text_is_read_back(text: str) -> None:
    assert str(Pattern.parse(text)) == text


def test_a_row_step_of_one_needs_no_name() -> None:
    assert Pattern.parse("5:11010:1") == MASKS["A"]
    assert str(Pattern(7, 0b1001, 1)) == "7:1001000"
    assert Pattern.parse("1:1") == FULL


@pytest.mark.parametrize(
    "text",
    [
        "",
        "E",
        "5",
        "5:",
        "5:1101",
        "5:11012",
        "5:11010:",
        "5:11010:x",
        "5:11010:2:1",
        "٥:11010",
        "5:11010\n",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="unknown pattern"):
        Pattern.parse(text)


@pytest.mark.parametrize("text", ["17:" + "1" * 17, "5:00000", "5:10000:5", "1:1:2"])
def test_patterns_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"pattern .* (outside|at least one)"):
        Pattern.parse(text)


@pytest.mark.parametrize("pattern", [*MASKS.values(), Pattern(5, 1, 2), Pattern(4, 0b0110, 0)])
def test_the_mask_says_what_is_computed(pattern: Pattern) -> None:
    mask = pattern.mask(9, 11)
    for row, col in np.ndindex(9, 11):
        inside = pattern.bits >> (pattern.row_step * row + col) % pattern.period & 1
        assert mask[row, col] == pattern.computes(row, col) == bool(inside)
    for row in range(9):
        bits = pattern.repeated(row)
        assert [bits >> col & 1 for col in range(11)] == mask[row].tolist()
    assert pattern.mask(pattern.period, pattern.period).mean() == pytest.approx(pattern.alpha)


def test_with_row_step_two_each_predicted_position_touches_one_computed_one() -> None:
    mask = Pattern.parse("5:10000:2").mask(12, 12).astype(int)
    near = mask[:-2, 1:-1] + mask[2:, 1:-1] + mask[1:-1, :-2] + mask[1:-1, 2:]
    assert (near[mask[1:-1, 1:-1] == 0] == 1).all()
    assert (near[mask[1:-1, 1:-1] == 1] == 0).all()
