"""A model of the beats that the core reads from memory and writes to it.

It counts what the core's counters `beats_read` and `beats_written` count, from the words of the
tiles' descriptors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from compiler.cycles import passes
from golden.arithmetic import ceil_div
from hw.contract.config import Config
from hw.contract.counters import STORED_BYTES
from hw.contract.program import DESCRIPTOR_BYTES
from hw.contract.records import record_words

__all__ = ["Beats", "tile_beats"]


@dataclass(frozen=True)
class Beats:
    """Beats of the memory's data bus."""

    read: int
    written: int

    def __add__(self, other: Beats) -> Beats:
        return Beats(self.read + other.read, self.written + other.written)


def tile_beats(config: Config, words: Mapping[str, int]) -> Beats:
    """The beats of one tile, its descriptor and its stored counters among them.

    `words` are those of `compiler.batches.Part`. The header that a program's start reads is
    not among them.
    """
    pixel = config.group // config.bus_bytes
    groups = ceil_div(words["channels"], config.group)
    planes = ceil_div(words["ifm_channels"], config.group)
    slices = ceil_div(words["channels"], words["slice_channels"]) if words["slice_step"] else 1
    ifm = slices * words["ifm_height"] * passes(words) * planes * words["ifm_width"] * pixel
    record = (record_words(config) + words["kernel_words"]) * config.lanes // config.bus_bytes
    columns = (words["width"] - 1) * words["residual_stride"] + 1
    residual = words["residual_planes"] * words["height"] * columns * pixel
    shared = {name: groups * words[name] * pixel for name in ("restored", "spilled")}
    return Beats(
        read=DESCRIPTOR_BYTES // config.bus_bytes
        + ifm
        + words["channels"] * record
        + residual
        + shared["restored"],
        written=STORED_BYTES // config.bus_bytes
        + groups * words["ofm_words"] * pixel
        + shared["spilled"],
    )
