"""The words of programs and records: their widths, the core's layouts of them, and their format."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from amaranth.lib import data

from hw.contract.bus import OFFSET_BITS
from hw.contract.config import PRESETS, Config
from hw.contract.counters import CORE_COUNTERS, STORED_BYTES, TOTAL_BITS
from hw.contract.program import (
    DESCRIPTOR_BYTES,
    HEADER_BYTES,
    VERSION,
    Word,
    descriptor_words,
    engine_words,
    header_words,
    pack_words,
    width,
)
from hw.contract.records import RECORD_BYTES, RECORD_PARTS, record_fields, record_words
from hw.layouts.descriptor import (
    ChannelRecord,
    LayerDescriptor,
    TileDescriptor,
)
from hw.lib.structs import struct_bits, struct_from_bits
from tests.hw.small_configs import TINY

CONFIGS = [TINY, replace(TINY, predictor=False), *PRESETS.values()]
IDS = ["TINY", "TINY without predictor", *PRESETS]


@pytest.mark.parametrize("low", [*range(-70, 1), -(1 << 31)])
def test_a_width_is_the_least_that_holds_both_limits(low: int) -> None:
    for high in (0, 1, 2, 3, 4, 63, 64, 65, 255, 256, (1 << 31) - 1):

        def holds(bits: int, high: int = high) -> bool:
            if low < 0:
                return -(1 << bits - 1) <= low and high < 1 << bits - 1
            return high < 1 << bits

        bits = width(low, high)
        assert holds(bits)
        assert bits == 1 or not holds(bits - 1)


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_every_word_fits_into_32_bits_and_all_into_their_place(config: Config) -> None:
    for words, size in (
        (header_words(config), HEADER_BYTES),
        (descriptor_words(config), DESCRIPTOR_BYTES),
    ):
        assert 4 * len(words) <= size
        for name, word in words.items():
            assert word.bits <= 32, name
            assert word.low <= word.high, name
            assert word.multiple & (word.multiple - 1) == 0, name
            assert word.text, name


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_the_core_keeps_every_word_that_it_accepts(config: Config) -> None:
    """At either limit a word comes back from the layouts as it was put in."""
    tables: list[tuple[data.Layout, dict[str, Word]]] = [
        (LayerDescriptor(config), engine_words(config)),
        (TileDescriptor(config), descriptor_words(config)),
    ]
    for layout, words in tables:
        for limit in ("low", "high"):
            values = {name: getattr(word, limit) for name, word in words.items()}
            plain = {name: value for name, value in values.items() if "." not in name}
            pool = {name[5:]: value for name, value in values.items() if name.startswith("pool.")}
            assert len(plain) + len(pool) == len(words)
            kept = struct_from_bits(layout, struct_bits(layout, {**plain, "pool": pool}))
            assert {name: kept[name] for name in plain} == plain
            assert {name: kept.pool[name] for name in pool} == pool


def test_words_are_packed_little_endian_in_order() -> None:
    words = {"first": Word(-5, 5, "signed"), "second": Word(0, 1 << 20, "not signed")}
    packed = pack_words(words, {"second": 0x12345, "first": -2}, 12)
    assert packed == bytes.fromhex("feffffff 45230100 00000000")


@pytest.mark.parametrize(
    "values", [{"a": 9}, {"a": 3}, {"a": -4}, {"b": 4}], ids=["high", "multiple", "low", "name"]
)
def test_what_a_core_would_refuse_is_not_packed(values: dict[str, int]) -> None:
    with pytest.raises(AssertionError):
        pack_words({"a": Word(0, 8, "", multiple=4)}, values, 4)


def test_the_layout_of_a_record_is_that_of_its_table() -> None:
    layout = ChannelRecord()
    offset = 0
    for name, field in record_fields():
        part, _, own = name.partition(".")
        record: Any = layout[part].shape
        place = record[own]
        assert layout[part].offset + place.offset == offset, name
        assert place.width == field.bits * field.count, name
        offset += place.width
    assert layout.size == offset <= 8 * RECORD_BYTES
    assert list(layout.members) == list(RECORD_PARTS)


def test_a_record_takes_whole_words() -> None:
    for lanes in (8, 16, 32, 64, 128):
        words = record_words(replace(TINY, lanes=lanes))
        assert (words - 1) * lanes < RECORD_BYTES <= words * lanes


def test_stored_counters_are_whole_beats_of_any_bus() -> None:
    assert STORED_BYTES % 16 == 0
    assert len(CORE_COUNTERS) * TOTAL_BITS <= STORED_BYTES * 8


def test_the_format_of_programs_changes_with_its_version() -> None:
    """An older core must not misread a newer program.

    If this fails, a program means something else than before: raise VERSION, then write the new
    digest here.
    """
    config = PRESETS["small"]
    format_of = [
        *[
            (name, word.low, word.high, word.multiple)
            for words in (header_words, descriptor_words)
            for name, word in words(config).items()
            if name != "version"
        ],
        *[(name, field.bits, field.signed, field.count) for name, field in record_fields()],
        (HEADER_BYTES, DESCRIPTOR_BYTES, RECORD_BYTES, STORED_BYTES, OFFSET_BITS, TOTAL_BITS),
        tuple(CORE_COUNTERS),
    ]
    digest = hashlib.sha256(repr(format_of).encode()).hexdigest()[:16]
    assert (VERSION, digest) == (6, "0dec26d59ab38c95")
