"""Sites for multipliers, lane after lane, and for the memories that feed them.

An ECP5 has its multipliers and block RAMs in a few rows across the whole die, and the array takes
nearly all of the multipliers. An analytical placer puts blocks where their wires are shortest and
only then moves each to a free site; in rows that are nearly full the last find one far away, and
the order of the lanes, in which nothing has to go far, is lost. So it is given: lanes follow each
other along the rows, back and forth, a lane's multipliers side by side for all PEs, and after them
those of the predictor; the memories of every eight lanes, and the weight ring's, lie as near to
theirs as there are sites. All else is the placer's to decide, and of a part with a single row of
multipliers everything: it does no worse there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from hw.lib.register_copies import LANES_PER_COPY

__all__ = ["Grid", "Site", "floorplan"]

_FIRST, _PITCH, _MIDDLE = 4, 9, 2
"""Columns: of the first tile of blocks, from tile to tile, and of the clock's spine between two."""
_MULTIPLIERS = ((0, 0), (1, 1), (4, 4), (5, 5))
_MEMORIES = ((0, 0), (2, 1), (4, 2), (6, 3))
"""Of a tile: column, and number in the block's name."""


@dataclass(frozen=True)
class Site:
    """A place for a block, by the name that nextpnr has for it."""

    name: str
    col: int
    row: int


@dataclass(frozen=True)
class Grid:
    """Where a part has its multipliers and block RAMs (Project Trellis's database).

    Parameters
    ----------
    left, right : int
        Tiles of four blocks in a row, on either side of the spine.
    multiplier_rows, memory_rows : rows of the die
    """

    left: int
    right: int
    multiplier_rows: tuple[int, ...]
    memory_rows: tuple[int, ...]

    @property
    def multipliers(self) -> list[Site]:
        """Row after row, back and forth."""
        rows = [self._row(row, "MULT18_", _MULTIPLIERS) for row in self.multiplier_rows]
        return [site for n, sites in enumerate(rows) for site in sites[:: -1 if n % 2 else 1]]

    @property
    def memories(self) -> list[Site]:
        """Row after row."""
        return [site for row in self.memory_rows for site in self._row(row, "EBR", _MEMORIES)]

    def _row(self, row: int, kind: str, blocks: Iterable[tuple[int, int]]) -> list[Site]:
        tiles = [
            _FIRST + _PITCH * tile + _MIDDLE * (tile >= self.left)
            for tile in range(self.left + self.right)
        ]
        return [
            Site(f"X{first + col}/Y{row}/{kind}{number}", first + col, row)
            for first in tiles
            for col, number in blocks
        ]


_MULTIPLIER = re.compile(r".*\.array\.product_(\d+)_(\d+)\.block")
"""With the numbers of its PE and its lane."""
_PREDICTOR_MULTIPLIER = re.compile(r".*\.predictor\.layer(\d)\.product_(\d+)\.block")
"""With the numbers of its layer and its tap."""
_IFM_MEMORY = re.compile(r".*\.ifm_buffer\.ram\d+_\d+_(\d+)\.[\d.]+")
"""With the number of its `LANES_PER_COPY`."""
_WEIGHT_MEMORY = re.compile(r".*\.weight_buffer\.ram\.\d+\.(\d+)")
"""With its number among all that hold a weight word."""


def floorplan(cells: Iterable[str], grid: Grid) -> dict[str, str]:
    """Sites by the names of the cells, of all those in a flat netlist that one is chosen for.

    Cells without a block's name are left alone, and so are blocks for which there is no site left.
    """
    if len(grid.multiplier_rows) == 1:
        return {}
    multipliers, predictor, memories, weights = {}, {}, [], []
    for cell in cells:
        if match := _MULTIPLIER.fullmatch(cell):
            pe, lane = map(int, match.groups())
            multipliers[lane, pe] = cell
        elif match := _PREDICTOR_MULTIPLIER.fullmatch(cell):
            predictor[match.groups()] = cell
        elif match := _IFM_MEMORY.fullmatch(cell):
            first = int(match[1]) * LANES_PER_COPY
            memories.append((range(first, first + LANES_PER_COPY), cell))
        elif match := _WEIGHT_MEMORY.fullmatch(cell):
            weights.append((int(match[1]), cell))
    lanes = len({lane for lane, _ in multipliers})
    parts = len({number for number, _ in weights})
    for number, cell in weights:
        memories.append((range(lanes * number // parts, lanes * (number + 1) // parts), cell))

    order = [of[key] for of in (multipliers, predictor) for key in sorted(of)]
    sites: dict[str, Site] = dict(zip(order, grid.multipliers))
    free = grid.memories
    for near, cell in sorted(memories, key=lambda memory: memory[0].start):
        around = [sites[multipliers[key]] for key in multipliers if key[0] in near]
        sites[cell] = min(free, key=partial(_distance, around))
        free.remove(sites[cell])
    return {cell: site.name for cell, site in sites.items()}


def _distance(others: Sequence[Site], site: Site) -> int:
    """Of a site from some others, in all."""
    return sum(abs(site.col - other.col) + abs(site.row - other.row) for other in others)
