"""Options that are numbers are taken or refused in one line, and so is any other wrong option."""

from __future__ import annotations

import pytest

from golden.arguments import Parser, integer, natural, number, positive, seed_number
from golden.errors import UserError


def parse(kind: object, text: str) -> object:
    parser = Parser(prog="command")
    parser.add_argument("--n", type=kind)  # type: ignore[arg-type]
    return parser.parse_args(["--n", text]).n


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (positive, "1", 1),
        (natural, "0", 0),
        (natural, "0x10", 16),
        (integer(-2, 2), "-2", -2),
        (seed_number, "4294967295", (1 << 32) - 1),
        (number(0, 100), "1e2", 100.0),
    ],
)
def test_numbers_are_read(kind: object, text: str, value: object) -> None:
    assert parse(kind, text) == value


@pytest.mark.parametrize(
    "text", ["0", "-3", "", " 1", "1_0", "1.0", "1e3", "٣", "9" * 5000, "2147483648", "nan", "x"]
)
def test_what_is_no_positive_integer_is_refused(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(positive, text)
    assert str(caught.value) == f"--n {text!r} is not an integer of at least 1"


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1e999", "", "101", "1,5"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(number(0, 100), text)
    assert str(caught.value) == f"--n {text!r} is not a number above 0, 100 at most"


def test_ranges_are_named() -> None:
    with pytest.raises(UserError, match=r"^--n '9' is not an integer of 2 \.\. 8$"):
        parse(integer(2, 8), "9")


def test_an_unknown_option_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^unrecognized arguments: --m 1; see --help$"):
        Parser(prog="command").parse_args(["--m", "1"])
