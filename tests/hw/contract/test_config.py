"""A wrong configuration is refused with the name of the file and of the field."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from golden.errors import UserError
from hw.contract.config import PRESETS, Config
from tests.hw.small_configs import TINY

SIZES = {
    "pes": (1, 8),
    "lanes": (8, 128),
    "group": (4, 32),
    "ifm_words": (16, 65536),
    "weight_words": (16, 65536),
    "ofm_words": (16, 65536),
    "row_pixels": (4, 8192),
    "bus_bits": (32, 128),
    "predictor_positions": (1, 4),
}
"""Every size with its limits."""
WHOLE = {"address_bits": (32, 64), "axi_prot": (0, 7), "axi_cache": (0, 15)}
"""Every other number with its limits."""
SWITCHES = ("predictor", "compact")
MULTIPLIERS = {"predictor_dsps": 18, "predictor_tables": 6}
"""Kinds of the predictor's multipliers, with the most there can be."""


def test_every_field_is_tested_here() -> None:
    others = {"name", *MULTIPLIERS, *SWITCHES, *WHOLE}
    assert {field.name for field in fields(Config)} == {*others, *SIZES}


@pytest.mark.parametrize("field", SIZES)
def test_a_size_may_be_as_small_or_large_as_documented(field: str) -> None:
    roomy = replace(TINY, lanes=16, group=16) if field == "bus_bits" else TINY
    for limit in SIZES[field]:
        change: dict[str, Any] = {field: limit}
        assert getattr(replace(roomy, **change), field) == limit


@pytest.mark.parametrize("field", SIZES)
@pytest.mark.parametrize("wrong", ["text", 8.0, None, True, [8], 0, -8, 24])
def test_a_size_that_is_no_power_of_two_is_refused(field: str, wrong: Any) -> None:
    with pytest.raises(UserError, match=rf"config 'tiny': {field} is .*must be a power of two in"):
        replace(TINY, **{field: wrong})


@pytest.mark.parametrize("field", SIZES)
def test_a_size_outside_its_limits_is_refused(field: str) -> None:
    low, high = SIZES[field]
    for wrong in (low // 2, high * 2):
        change: dict[str, Any] = {field: wrong}
        with pytest.raises(UserError, match=rf"{field} is {wrong}, .* in {low}\.\.{high}$"):
            replace(TINY, **change)


@pytest.mark.parametrize("field", WHOLE)
def test_a_number_outside_its_limits_is_refused(field: str) -> None:
    low, high = WHOLE[field]
    for allowed in (low, low + 1, high):
        change: dict[str, Any] = {field: allowed}
        assert getattr(replace(TINY, **change), field) == allowed
    for wrong in (low - 1, high + 1, "text", 33.0, None, True):
        change = {field: wrong}
        with pytest.raises(UserError, match=rf"config 'tiny': {field} is .* in {low}\.\.{high}$"):
            replace(TINY, **change)


@pytest.mark.parametrize("field", MULTIPLIERS)
@pytest.mark.parametrize("wrong", ["text", 8.0, None, True, -1, "one too many"])
def test_more_multipliers_than_the_predictor_has_are_refused(field: str, wrong: Any) -> None:
    most = MULTIPLIERS[field]
    wrong = most + 1 if wrong == "one too many" else wrong
    for limit in (0, most):
        change: dict[str, Any] = {"predictor_dsps": 0, field: limit}
        assert getattr(replace(TINY, **change), field) == limit
    with pytest.raises(UserError, match=rf"config 'tiny': {field} is .*must be in 0\.\.{most}$"):
        replace(TINY, **{field: wrong})


def test_more_multipliers_of_all_kinds_than_the_predictor_has_are_refused() -> None:
    with pytest.raises(UserError, match="predictor_dsps and predictor_tables are 15 and 4, more"):
        replace(TINY, predictor_dsps=15, predictor_tables=4)


@pytest.mark.parametrize("positions", [1, 2, 4])
def test_each_position_a_cycle_brings_eighteen_multipliers(positions: int) -> None:
    products = 18 * positions
    config = replace(TINY, predictor_positions=positions, predictor_dsps=products)
    assert config.predictor_dsps == products
    with pytest.raises(UserError, match=rf"predictor_dsps is {products + 1}, must be in 0\.\."):
        replace(config, predictor_dsps=products + 1)


@pytest.mark.parametrize("positions", [2, 4])
def test_tables_are_refused_where_several_positions_go_at_a_time(positions: int) -> None:
    message = f"predictor_tables is 1, must be 0 where predictor_positions is {positions}"
    with pytest.raises(UserError, match=message):
        replace(TINY, predictor_positions=positions, predictor_tables=1)


@pytest.mark.parametrize(("field", "bus_bits"), [("group", 64), ("lanes", 128)])
def test_a_bus_wider_than_a_word_is_refused(field: str, bus_bits: int) -> None:
    change: dict[str, Any] = {"bus_bits": bus_bits, "group": 4 if field == "group" else 32}
    message = f"bus_bits is {bus_bits}, wider than the {4 if field == 'group' else 8} bytes of"
    with pytest.raises(UserError, match=f"config 'tiny': {message} {field}"):
        replace(TINY, **change)


@pytest.mark.parametrize("wrong", ["", "two words", "9lives", "a-b", "café", "a/b", None, 7])
def test_a_name_that_is_no_verilog_identifier_is_refused(wrong: Any) -> None:
    with pytest.raises(UserError, match=r"config name .* must be a letter"):
        replace(TINY, name=wrong)


@pytest.mark.parametrize("wrong", [1, 0, None, "true"])
@pytest.mark.parametrize("field", SWITCHES)
def test_a_switch_is_true_or_false(field: str, wrong: Any) -> None:
    change: dict[str, Any] = {field: wrong}
    with pytest.raises(UserError, match=f"config 'tiny': {field} is not true or false"):
        replace(TINY, **change)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_loaded_by_its_name(name: str) -> None:
    assert Config.load(name) is PRESETS[name]
    assert PRESETS[name].name == name


@pytest.mark.parametrize("config", [TINY, replace(TINY, predictor=False)], ids=["zap", "no-zap"])
def test_a_file_holds_what_to_dict_gives(config: Config, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(config.to_dict()))
    assert Config.load(str(file)) == config


def test_a_file_may_leave_out_switches_and_bus(tmp_path: Path) -> None:
    document = PRESETS["small"].to_dict()
    for field in (*SWITCHES, "bus_bits", "predictor_positions"):
        del document[field]
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(document))
    assert Config.load(str(file)) == PRESETS["small"]


@pytest.mark.parametrize("field", sorted({"name", *SIZES} - {"bus_bits", "predictor_positions"}))
def test_a_field_that_a_file_lacks_is_named(field: str, tmp_path: Path) -> None:
    document = TINY.to_dict()
    del document[field]
    assert_refused(tmp_path, json.dumps(document), f"field '{field}' is missing")


def test_a_field_that_nobody_knows_is_named_with_those_known(tmp_path: Path) -> None:
    text = json.dumps({**TINY.to_dict(), "banks": 2})
    assert_refused(tmp_path, text, "unknown field 'banks'; known are address_bits, ")


@pytest.mark.parametrize(
    ("field", "value"), [("lanes", 12), ("lanes", "8"), ("name", "a b"), ("predictor", 1)]
)
def test_a_value_that_a_file_has_wrong_is_named(field: str, value: Any, tmp_path: Path) -> None:
    assert_refused(tmp_path, json.dumps({**TINY.to_dict(), field: value}), field)


@pytest.mark.parametrize("text", ["", "{", '{"name": tiny}', '{"name": "tiny"} {}'])
def test_a_file_that_is_no_json_is_refused(text: str, tmp_path: Path) -> None:
    assert_refused(tmp_path, text, "not readable as JSON")


@pytest.mark.parametrize("text", ["[]", "8", "null", '"small"'])
def test_a_file_that_is_no_object_is_refused(text: str, tmp_path: Path) -> None:
    assert_refused(tmp_path, text, "must be a JSON object")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"mine\.json: not readable as JSON"):
        Config.load(str(file))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not readable"):
        Config.load(str(tmp_path))


def test_a_file_that_is_not_there_is_named_with_the_presets(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent.json")
    says = r"no configuration .*absent.*use tiny, small, narrow, default or a JSON"
    with pytest.raises(UserError, match=says):
        Config.load(absent)


def assert_refused(folder: Path, text: str, says: str) -> None:
    """A file of that text is refused with its name and what is wrong."""
    file = folder / "mine.json"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        Config.load(str(file))
    assert str(caught.value).startswith(f"{file}: ")
    assert says in str(caught.value)
