"""Floorplan: sites for the multipliers, lane after lane, and for the memories that feed them.

An ECP5 has its multipliers and block RAMs in a few rows across the whole die, and the array takes
nearly all of the multipliers. An analytical placer first puts each block where its wires are
shortest, and then moves it to a free site. In rows that are nearly full, the last blocks find a
site only far away, and neighbouring lanes are torn apart. So this module chooses the sites:

- The lanes follow each other along the rows, back and forth. The multipliers of a lane lie side by
  side for all PEs. The predictor's multipliers come last.
- The memories of every eight lanes, and those of the weight buffer, lie at the free sites that are
  nearest to the multipliers that they feed.

The placer decides everything else. On a part with a single row of multipliers it decides
everything, and does no worse.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from hw.lib.register_copies import LANES_PER_COPY

__all__ = ["Grid", "Site", "floorplan"]

_FIRST, _PITCH, _MIDDLE = 4, 9, 2
"""Column of the first tile of blocks, columns from tile to tile, and columns that the clock's spine
takes between two tiles."""
_MULTIPLIERS = ((0, 0), (1, 1), (4, 4), (5, 5))
_MEMORIES = ((0, 0), (2, 1), (4, 2), (6, 3))
"""Blocks of a tile: the column, counted from the tile's first one, and the number in its name."""


@dataclass(frozen=True)
class Site:
    """A place for a block, with its name in nextpnr."""

    name: str
    col: int
    row: int


@dataclass(frozen=True)
class Grid:
    """Positions of a part's multipliers and block RAMs (from Project Trellis's database).

    Parameters
    ----------
    left, right : int
        Tiles of four blocks in a row, on either side of the spine.
    multiplier_rows, memory_rows : tuple of int
        Rows of the die that have these blocks.
    """

    left: int
    right: int
    multiplier_rows: tuple[int, ...]
    memory_rows: tuple[int, ...]

    @property
    def multipliers(self) -> list[Site]:
        """Sites of multipliers, row after row, back and forth."""
        rows = [self._row(row, "MULT18_", _MULTIPLIERS) for row in self.multiplier_rows]
        return [site for n, sites in enumerate(rows) for site in sites[:: -1 if n % 2 else 1]]

    @property
    def memories(self) -> list[Site]:
        """Sites of block RAMs, row after row."""
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
"""A multiplier of the array; the groups are the numbers of its PE and its lane."""
_PREDICTOR_MULTIPLIER = re.compile(r".*\.predictor\.layer(\d)\.product_(\d+)\.block")
"""A multiplier of the predictor; the groups are the numbers of its layer and its tap."""
_IFM_MEMORY = re.compile(r".*\.ifm_buffer\.ram\d+_\d+_(\d+)\.[\d.]+")
"""A memory of the ifm buffer; the group is the number of its lanes' copy (`LANES_PER_COPY`)."""
_WEIGHT_MEMORY = re.compile(r".*\.weight_buffer\.ram\.\d+\.(\d+)")
"""A memory of the weight buffer; the group is its number among those that hold a word."""


def floorplan(cells: Iterable[str], grid: Grid) -> dict[str, str]:
    """Choose sites for the multipliers and memories of a flat netlist.

    Returns the names of the sites by the names of the cells; other cells get none. The part has
    enough sites for all of them (`hw.fpga.report.refuse_misfit`).
    """
    if len(grid.multiplier_rows) == 1:
        return {}
    multipliers: dict[tuple[int, int], str] = {}
    predictor: dict[tuple[int, int], str] = {}
    memories: list[tuple[range, str]] = []
    weights: list[tuple[int, str]] = []
    for cell in cells:
        if match := _MULTIPLIER.fullmatch(cell):
            multipliers[int(match[2]), int(match[1])] = cell
        elif match := _PREDICTOR_MULTIPLIER.fullmatch(cell):
            predictor[int(match[1]), int(match[2])] = cell
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
    """Sum of the distances of a site from some others, in columns and rows."""
    return sum(abs(site.col - other.col) + abs(site.row - other.row) for other in others)
