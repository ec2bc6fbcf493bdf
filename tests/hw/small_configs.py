"""Small configurations of the hardware, on which tests are quick and corner cases are common."""

from __future__ import annotations

from dataclasses import replace

from hw.contract.config import Config

__all__ = ["STRIPS", "TINY", "WIDE"]

TINY = Config(
    name="tiny",
    pes=2,
    lanes=8,
    group=4,
    ifm_words=512,
    weight_words=256,
    ofm_words=128,
    row_pixels=32,
    bus_bits=32,
)

STRIPS = replace(TINY, name="strips", ifm_words=128, ofm_words=64)
"""`TINY` with buffers so small that most layers are cut into strips."""

WIDE = replace(TINY, name="wide", group=8)
"""`TINY` whose planes have as many channels as those of the presets."""
