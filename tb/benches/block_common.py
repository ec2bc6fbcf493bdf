"""Shared by the block benches: settings, uneven pauses, random maps, and comparing streams.

A block bench is given `{"config": the fields of a Config, "seed": ..., "count": how many to try}`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import SimTimeoutError, with_timeout
from cocotb.utils import get_sim_time

from golden.pattern import FULL, MASKS, MAX_PERIOD, Pattern
from hw.contract.config import Config
from hw.contract.program import residues_word
from hw.layouts.descriptor import LayerDescriptor
from hw.layouts.pixels import PixelOrEnd
from hw.lib.structs import struct_bits, struct_from_bits
from tb.benches.common import PERIOD, values
from tb.benches.streams import StreamSink, random_pause

__all__ = [
    "END",
    "BlockSettings",
    "Map",
    "collect",
    "now",
    "require_equal",
    "uneven_pauses",
    "work_items",
]

END = "end"
"""Stands for an item that carries no pixel."""

_PATIENCE = 50_000
"""Cycles after which a bench stops waiting for items; correct hardware sends them sooner."""


@dataclass(frozen=True)
class BlockSettings:
    """Configuration, seed and number of tries of a block bench."""

    config: Config
    seed: int
    count: int

    @classmethod
    def read(cls) -> BlockSettings:
        """Read the settings of this run and log them."""
        given = values()
        cocotb.log.info("seed %d, %d to try, %s", given["seed"], given["count"], given["config"])
        return cls(Config(**given["config"]), given["seed"], given["count"])


@dataclass(frozen=True)
class Map:
    """An ofm or a strip of it, its pattern, and where its kernels begin in the ifm buffer.

    A strip has `above` and `below` rows of the map beyond its region. Rows before `first_row` are
    restored, rows in `scored` are scored; both count from the region's first row.
    """

    config: Config
    height: int
    width: int
    pattern: Pattern
    base: int
    row_step: int
    col_step: int
    first_row: int
    scored: range
    above: int = 0
    below: int = 0

    @classmethod
    def several(
        cls, config: Config, rng: random.Random, count: int, *, widest: int | None = None
    ) -> Iterator[Map]:
        """Yield corner cases (one pixel, row or column, nothing computed), then random maps."""
        widest = widest or config.ofm_words
        beyond = Pattern(MAX_PERIOD, 1 << MAX_PERIOD - 1)
        for height, width, pattern in (
            (1, 1, FULL),
            (1, 1, beyond),
            (1, widest, MASKS["A"]),
            (config.ofm_words, 1, MASKS["B"]),
            (MAX_PERIOD // 4, MAX_PERIOD // 4, beyond),
        ):
            yield cls._of(config, rng, height, width, pattern)
        for number in range(count):
            drawn = cls._draw(config, rng, widest)
            yield drawn._cut(rng) if number % 2 else drawn

    @classmethod
    def _draw(cls, config: Config, rng: random.Random, widest: int) -> Map:
        width = rng.choice([widest, rng.randint(1, widest), rng.randint(1, 12)])
        tallest = config.ofm_words // width
        height = rng.choice([tallest, rng.randint(1, tallest), rng.randint(1, min(tallest, 12))])
        period = rng.randint(1, MAX_PERIOD)
        row_step = rng.randrange(period)
        pattern = rng.choice(
            [
                *MASKS.values(),
                Pattern(period, rng.randrange(1, 1 << period), row_step),
                Pattern(period, 1, row_step),
            ]
        )
        return cls._of(config, rng, height, width, pattern)

    @classmethod
    def _of(
        cls, config: Config, rng: random.Random, height: int, width: int, pattern: Pattern
    ) -> Map:
        base, row_step, col_step = (rng.randrange(config.ifm_words) for _ in range(3))
        rows = range(height)
        return cls(config, height, width, pattern, base, row_step, col_step, 0, rows)

    def _cut(self, rng: random.Random) -> Map:
        """Return a strip with this region of some map, if the region has enough rows."""
        above, below = (rng.choice([0, rng.randint(1, 2 * MAX_PERIOD)]) for _ in range(2))
        first = rng.randint(2, 4) if above else rng.randint(0, 2)
        end = self.height - (2 if below else rng.randint(0, 2))
        if first >= end:
            return self
        first_row = rng.choice([self.height, rng.randint(0, min(self.height, 8))])
        return replace(
            self, above=above, below=below, first_row=first_row, scored=range(first, end)
        )

    def __str__(self) -> str:
        return (
            f"{self.height}x{self.width} region below {self.above} and above {self.below} rows, "
            f"pattern {self.pattern}, computed from row {self.first_row}, scored {self.scored}"
        )

    @property
    def whole(self) -> np.ndarray:
        """`I_s` of the whole map: bool (above + height + below, width)."""
        return self.pattern.mask(self.above + self.height + self.below, self.width)

    def region(self, whole: np.ndarray) -> np.ndarray:
        """Return the region's rows of a map."""
        return whole[self.above : self.above + self.height]

    @property
    def computed(self) -> np.ndarray:
        """`I_s` of the region: bool (height, width)."""
        return self.region(self.whole)

    def pixels(self, chosen: np.ndarray) -> list[tuple[int, int]]:
        """Return (index, base) of the chosen positions in raster order."""
        return [
            (
                int(row * self.width + col),
                self._address(int(row), int(col)),
            )
            for row, col in np.argwhere(chosen)
        ]

    def _address(self, row: int, col: int) -> int:
        address = self.base + row * self.row_step + col * self.col_step
        return address % self.config.ifm_words

    def descriptor(self, **further: int) -> int:
        """Return the descriptor's bits; `further` are fields that the map does not set."""
        pattern = self.pattern
        fields = {
            "height": self.height,
            "width": self.width,
            "pixels": self.height * self.width,
            "first_row": self.first_row,
            "restored": self.first_row * self.width,
            "scored_row": self.scored.start,
            "scored_end": self.scored.stop,
            "base": self.base,
            "first_base": self._address(self.first_row, 0),
            "row_step": self.row_step,
            "col_step": self.col_step,
            "period": pattern.period,
            "pattern": pattern.repeated(self.above),
            "residues": residues_word(pattern.residue(self.first_row, 0), pattern.residue(1, 0)),
        }
        return struct_bits(LayerDescriptor(self.config), {**fields, **further})


def uneven_pauses(seed: int) -> Iterator[bool]:
    """Yield pauses for an end of a stream that is fast, slow, or comes in bursts by turns."""
    rng = random.Random(seed)
    while True:
        probability, longest = rng.choice([(0.0, 1), (0.3, 1), (0.5, 8), (0.9, 1), (0.8, 30)])
        pauses = random_pause(probability, rng.getrandbits(32), longest=longest)
        yield from islice(pauses, rng.randint(10, 200))


def now() -> int:
    """Return the clock cycles since the simulation began."""
    return round(get_sim_time("ns") / PERIOD)


async def collect(sink: StreamSink, count: int) -> list[int]:
    """Return the next `count` payloads, or fewer if no more come."""
    try:
        return await with_timeout(sink.take(count), _PATIENCE * PERIOD, "ns")
    except SimTimeoutError:
        return list(sink.received)


def work_items(config: Config, payloads: Sequence[int]) -> list[Any]:
    """Return work items as (index, base) or END."""
    layout = PixelOrEnd(config)
    items = [struct_from_bits(layout, payload) for payload in payloads]
    return [END if item.end else (item.pixel.index, item.pixel.base) for item in items]


def require_equal(where: str, received: Sequence[Any], expected: Sequence[Any]) -> None:
    """Fail if the items differ, naming the first that does and both its values."""
    for number, (got, wanted) in enumerate(zip(received, expected)):
        assert got == wanted, f"{where}, item {number}: hardware {got}, expected {wanted}"
    assert len(received) == len(expected), (
        f"{where}: hardware gives {len(received)} items, expected {len(expected)}"
    )
