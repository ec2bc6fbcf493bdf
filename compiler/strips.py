"""Cuts a layer into strips: the rows of its ofm that are on chip at a time.

A strip hands out rows of the pooled map, or of the ofm where nothing is pooled, and finishes its
own rows of the ofm. Its region, what an ofm bank holds, is larger where the results of one strip
matter to another:

* above, by the rows that its first windows share with those of the strip above;
* with ZAP by `HALO` rows above, which the scores of its first rows depend on, and by as many below,
  which those of its last depend on.

What two regions share is computed once, by the upper strip: it spills those rows and the lower one
restores them. So neither a number nor a counter depends on where a layer is cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from golden.layers import Conv, Pool

__all__ = ["HALO", "Strip", "buffered_rows", "cut_strips"]

HALO = 2
"""Rows on either side of a pixel that its score depends on: one for each 3x3 kernel."""


@dataclass(frozen=True)
class Strip:
    """One strip, in rows of the whole maps.

    Parameters
    ----------
    pooled : range
        Rows that it hands out: of the pooled map, or of the ofm.
    own, region : range
        Rows of the ofm that it finishes, and that its bank holds.
    restored, spilled : int
        How many rows its region shares with that of the strip above, and of the strip below.
    ifm : range
        Rows of the ifm that it reads; those outside the map are padding. A kernel of one row leaves
        out what its stride passes over.
    load : range
        Those of them that the strip above has not left in the buffer.
    """

    pooled: range
    own: range
    region: range
    restored: int
    spilled: int
    ifm: range
    load: range


def buffered_rows(above: Strip, below: Strip) -> int:
    """Rows of the ifm in the buffer if what `below` loads joins all that `above` reads."""
    last = below.load[-1] if below.load else above.ifm[-1]
    return len(range(above.ifm.start, last + 1, above.ifm.step))


def cut_strips(conv: Conv, pool: Pool, height: int, rows: int, *, zap: bool) -> list[Strip]:
    """Strips of a layer whose ofm has that height, each handing out `rows` rows or what is left.

    Windows of `pool` that reach into the padding below the map go with the last strip.
    """
    total, _ = pool.output_size(height, pool.kernel[1])
    halo = HALO if zap else 0

    def window(row: int) -> int:
        """The first row of the ofm in a row of windows."""
        return row * pool.stride[0] - pool.padding[0]

    ifm_step = conv.stride[0] if conv.kernel[0] == 1 else 1
    bounds = [(0, 0)]  # first rows of each strip, in the pooled map and in the ofm
    for row in range(rows, total, rows):
        end = window(row - 1) + pool.kernel[0]
        if end < height:
            bounds.append((row, end))
    bounds.append((total, height))
    regions = [
        range(max(min(window(row), first - halo), 0), min(end + halo, height))
        for (row, first), (_, end) in pairwise(bounds)
    ]
    shared = [above.stop - below.start for above, below in pairwise(regions)]
    ifms = [
        range(
            first * conv.stride[0] - conv.padding[0],
            (region.stop - 1) * conv.stride[0] - conv.padding[0] + conv.kernel[0],
            ifm_step,
        )
        for (_, first), region in zip(bounds, regions, strict=False)
    ]
    loads = [
        range(max(below.start, above[-1] + ifm_step), below.stop, ifm_step)
        for above, below in pairwise(ifms)
    ]
    return [
        Strip(
            pooled=range(row, next_row),
            own=range(first, end),
            region=region,
            restored=restored,
            spilled=spilled,
            ifm=ifm,
            load=load,
        )
        for ((row, first), (next_row, end)), region, restored, spilled, ifm, load in zip(
            pairwise(bounds),
            regions,
            [0, *shared],
            [*shared, 0],
            ifms,
            [ifms[0], *loads],
            strict=True,
        )
    ]
