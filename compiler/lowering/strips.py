"""Cuts a layer into strips: the rows of its ofm that are on chip at a time.

A strip hands out rows of the pooled map, or of the ofm where nothing is pooled, and finishes its
own rows of the ofm. Its region is the rows that an ofm bank holds. The region is larger than its
own rows where strips share results:

* It begins higher by the rows that the strip's first pooling windows share with the strip above.
* With ZAP it begins `HALO` rows higher, because the scores of its first rows depend on those, and
  ends `HALO` rows lower, because the scores of its last rows depend on those.

Rows that two regions share are computed once, by the upper strip: it spills them and the lower
strip restores them. So neither a result nor a counter depends on where a layer is cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from golden.layers import Conv, Pool

__all__ = ["HALO", "Strip", "buffered_rows", "cut_strips"]

HALO = 2
"""Rows on either side of a pixel that its score depends on: one for each 3x3 kernel."""


@dataclass(frozen=True, kw_only=True)
class Strip:
    """One strip, in rows of the whole maps.

    Parameters
    ----------
    pooled : range
        Rows that it hands out: of the pooled map, or of the ofm.
    own, region : range
        Rows of the ofm that it finishes, and rows that its bank holds.
    restored, spilled : int
        How many rows its region shares with that of the strip above, and of the strip below.
    ifm : range
        Rows of the ifm that it reads; rows outside the map are padding. With a kernel of one row,
        rows that the stride passes over are left out.
    load : range
        The rows of `ifm` that the strip above has not left in the buffer.
    """

    pooled: range
    own: range
    region: range
    restored: int
    spilled: int
    ifm: range
    load: range


def buffered_rows(above: Strip, below: Strip) -> int:
    """Rows of the ifm in the buffer when it holds all that `above` reads and `below` loads."""
    last = below.load[-1] if below.load else above.ifm[-1]
    return len(range(above.ifm.start, last + 1, above.ifm.step))


def cut_strips(conv: Conv, pool: Pool, height: int, rows: int, *, zap: bool) -> list[Strip]:
    """Cut a layer with an ofm of that height into strips that hand out `rows` rows each.

    The last strip hands out what is left. Windows of `pool` that reach into the padding below the
    map belong to it.
    """
    total, _ = pool.output_size(height, pool.kernel[1])
    halo = HALO if zap else 0

    def window(row: int) -> int:
        """The first row of the ofm in a row of windows."""
        return row * pool.stride[0] - pool.padding[0]

    ifm_step = conv.stride[0] if conv.kernel[0] == 1 else 1
    bounds = [(0, 0)]  # where strips begin and end, in the pooled map and in the ofm
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
            (region.stop - 1) * conv.stride[0] - conv.padding[0] + conv.extent[0],
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
