"""The sizes of one build of the accelerator: each is a field of `Config`.

There are four presets: `tiny` (for an ECP5-25 with a processor and a memory controller too),
`small` (an ECP5-25 that holds the core alone, and tests), `narrow` (networks of few channels) and
`default` (ECP5-85-class). A user's own configuration is a JSON file with the same fields.
"""

from __future__ import annotations

import os
import re
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path

from golden.errors import UserError
from golden.reading import read_json

__all__ = ["PRESETS", "Config"]

_PREDICTOR_PRODUCTS = 18
"""Multipliers of the predictor for each position that it takes in a cycle."""
_PREDICTOR_TABLES = 6
"""A table is read two cycles ahead, when only one value of each kernel row is known: 2 * 3 rows."""
_MOST_CHANNELS = 4096


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of one build.

    Parameters
    ----------
    name : str
        A part of file names and of the Verilog modules' names.
    pes : int, 1, 2, 4 or 8
        P: processing elements, each on its own pixel of the same output channel.
    lanes : int, power of two, 8 .. 128
        V: multipliers of one PE; a word of the ifm and the weight buffer is V bytes.
    group : int, power of two, 4 .. 32
        G: output channels that are collected on chip before their pixels leave as G-byte words.
    ifm_words, weight_words : int, power of two
        Depth of the ifm buffer and of the weight ring in words of V bytes.
    ofm_words : int, power of two
        Depth of each of the two ofm banks in words of G bytes: the pixels of one ofm that fit.
    row_pixels : int, power of two
        Widest ofm row with ZAP: the length of the predictor's line buffers.
    bus_bits : int, 32, 64 or 128
        Width of the AXI data bus; a beat is at most G bytes and at most V bytes.
    address_bits : int, 32 .. 64
        Width of the AXI address bus.
    axi_prot : int, 0 .. 7
        AxPROT of every burst. The preset value says: data, non-secure, unprivileged.
    axi_cache : int, 0 .. 15
        AxCACHE of every burst. The preset value says: normal memory, not cacheable, bufferable.
    predictor : bool
        False leaves the predictor out, to measure what it costs.
    predictor_positions : int, 1, 2 or 4
        Positions that the predictor goes through in a cycle; it has 18 multipliers for each.
    predictor_dsps : int, 0 .. 18 for each position
        Number of the predictor's multipliers that are DSP blocks of an FPGA.
    predictor_tables : int, 0 .. 6
        Number of other multipliers that look squares up in a block RAM each; the rest is logic.
        Only with one position a cycle.
    compact : bool
        False gives each PE every P-th pixel only, to measure what compaction brings: a skipped
        pixel then leaves its PE idle unless its P - 1 neighbours are skipped too.
    """

    name: str
    pes: int
    lanes: int
    group: int
    ifm_words: int
    weight_words: int
    ofm_words: int
    row_pixels: int
    bus_bits: int = 64
    address_bits: int = 32
    axi_prot: int = 0b010
    axi_cache: int = 0b0011
    predictor: bool = True
    predictor_positions: int = 1
    predictor_dsps: int = 12
    predictor_tables: int = 0
    compact: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z]\w*", self.name, re.ASCII):
            raise UserError(
                f"config name {self.name!r} must be a letter followed by letters, digits and _"
            )
        limits = {
            "pes": (1, 8),
            "lanes": (8, 128),
            "group": (4, 32),
            "ifm_words": (16, 1 << 16),
            "weight_words": (16, 1 << 16),
            "ofm_words": (16, 1 << 16),
            "row_pixels": (4, 1 << 13),
            "bus_bits": (32, 128),
            "predictor_positions": (1, 4),
        }
        for field, (low, high) in limits.items():
            value = getattr(self, field)
            if not _is_whole(value) or not low <= value <= high or value & (value - 1):
                raise UserError(
                    f"config {self.name!r}: {field} is {value!r}, "
                    f"must be a power of two in {low}..{high}"
                )
        for field in ("group", "lanes"):
            if self.bus_bytes > getattr(self, field):
                raise UserError(
                    f"config {self.name!r}: bus_bits is {self.bus_bits}, wider than the "
                    f"{getattr(self, field)} bytes of {field}"
                )
        for field, (low, high) in {
            "address_bits": (32, 64),
            "axi_prot": (0, 7),
            "axi_cache": (0, 15),
        }.items():
            value = getattr(self, field)
            if not _is_whole(value) or not low <= value <= high:
                raise UserError(
                    f"config {self.name!r}: {field} is {value!r}, must be in {low}..{high}"
                )
        products = _PREDICTOR_PRODUCTS * self.predictor_positions
        for field, most in {
            "predictor_dsps": products,
            "predictor_tables": _PREDICTOR_TABLES,
        }.items():
            count = getattr(self, field)
            if not _is_whole(count) or not 0 <= count <= most:
                raise UserError(f"config {self.name!r}: {field} is {count!r}, must be in 0..{most}")
        if self.predictor_dsps + self.predictor_tables > products:
            raise UserError(
                f"config {self.name!r}: predictor_dsps and predictor_tables are "
                f"{self.predictor_dsps} and {self.predictor_tables}, more than {products} together"
            )
        if self.predictor_positions > 1 and self.predictor_tables:
            raise UserError(
                f"config {self.name!r}: predictor_tables is {self.predictor_tables}, must be 0 "
                f"where predictor_positions is {self.predictor_positions}"
            )
        for field in ("predictor", "compact"):
            if not isinstance(getattr(self, field), bool):
                raise UserError(f"config {self.name!r}: {field} is not true or false")

    @property
    def bus_bytes(self) -> int:
        """Bytes of a beat."""
        return self.bus_bits // 8

    @property
    def multipliers(self) -> int:
        """N = P * V."""
        return self.pes * self.lanes

    @property
    def most_channels(self) -> int:
        """Most output channels of one layer."""
        return _MOST_CHANNELS

    @classmethod
    def load(cls, name_or_file: str) -> Config:
        """Load a preset by name, or a JSON file of the fields above. Raises UserError."""
        if name_or_file in PRESETS:
            return PRESETS[name_or_file]
        file = Path(name_or_file)
        if not os.path.exists(file):
            raise UserError(
                f"no configuration {name_or_file!r}: use {', '.join(PRESETS)} or a JSON file"
            )
        document = read_json(file)
        if not isinstance(document, dict):
            raise UserError(f"{file}: must be a JSON object of the fields of a configuration")
        known = {field.name for field in fields(cls)}
        optional = {field.name for field in fields(cls) if field.default is not MISSING}
        for field in sorted(document.keys() - known):
            raise UserError(
                f"{file}: unknown field {field!r}; known are {', '.join(sorted(known))}"
            )
        for field in sorted(known - optional - document.keys()):
            raise UserError(f"{file}: field {field!r} is missing")
        try:
            return cls(**document)
        except UserError as error:
            raise UserError(f"{file}: {error}") from None

    def to_dict(self) -> dict[str, str | int | bool]:
        """The fields in the form in which `load` reads them from a file."""
        return asdict(self)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


PRESETS = {
    "tiny": Config(
        name="tiny",
        pes=2,
        lanes=8,
        group=8,
        ifm_words=2048,
        weight_words=512,
        ofm_words=512,
        row_pixels=64,
        bus_bits=32,
        predictor_dsps=5,
    ),
    "small": Config(
        name="small",
        pes=2,
        lanes=8,
        group=8,
        ifm_words=4096,
        weight_words=1024,
        ofm_words=1024,
        row_pixels=64,
        predictor_dsps=5,
    ),
    "narrow": Config(
        name="narrow",
        pes=8,
        lanes=16,
        group=8,
        ifm_words=4096,
        weight_words=2048,
        ofm_words=1024,
        row_pixels=64,
        predictor_dsps=15,
        predictor_tables=3,
    ),
    "default": Config(
        name="default",
        pes=2,
        lanes=64,
        group=8,
        ifm_words=2048,
        weight_words=512,
        ofm_words=2048,
        row_pixels=256,
        predictor_dsps=15,
        predictor_tables=3,
    ),
}
