"""Poolings whose windows differ become several whose windows agree, put side by side.

An average that does not count its padding has windows of fewer elements at the map's edges, and an
adaptive pooling may have windows of two sizes. Each run of windows that agree is pooled on the part
of the map that it covers; zeros are put around each result, and the results are added.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from quant.frontend.operations import Add, Network, Pool, Slice, UnevenPool, Windows
from quant.frontend.passes.chains import Chain

__all__ = ["even_runs", "split_uneven_pools"]


def split_uneven_pools(network: Network) -> None:
    """Replace each `UnevenPool`; along both axes, rows are pooled first."""
    for pool in [o for o in network.operations if isinstance(o, UnevenPool)]:
        chain = Chain(network, pool)
        for axis, windows in ((1, pool.rows), (2, pool.columns)):
            _pool_along(chain, pool.kind, axis, windows)
        chain.finish()


def even_runs(windows: Windows) -> list[Windows]:
    """Cut windows into runs whose windows are of one size and equally far apart."""
    runs = [[windows[0]]]
    for before, window in pairwise(windows):
        run = runs[-1]
        step = run[1][0] - run[0][0] if len(run) > 1 else max(window[0] - before[0], 1)
        same = window[1] - window[0] == before[1] - before[0]
        if same and window[0] - before[0] == step:
            run.append(window)
        else:
            runs.append([window])
    return [tuple(run) for run in runs]


def _pool_along(chain: Chain, kind: Any, axis: int, windows: Windows) -> None:
    """Pool the chain's map along an axis: 1 is that of rows, 2 of columns."""
    whole, shape = chain.tensor, chain.shape
    result = list(shape)
    result[axis] = len(windows)
    total = ""
    done = 0
    for run in even_runs(windows):
        chain.go_back(whole, shape)
        _pool_run(chain, kind, axis, run)
        if len(run) < len(windows):
            margins = [0, 0, 0, 0]
            margins[2 * (axis - 1)] = done
            margins[2 * (axis - 1) + 1] = len(windows) - done - len(run)
            chain.copy("placed", tuple(result), padding=tuple(margins))
        if total:
            chain.add(Add, "sum", tuple(result), total)
        total = chain.tensor
        done += len(run)


def _pool_run(chain: Chain, kind: Any, axis: int, run: Windows) -> None:
    """Pool windows that agree, on the part of the map that they cover."""
    first, last = run[0][0], run[-1][1]
    shape = list(chain.shape)
    if (first, last) != (0, shape[axis]):
        shape[axis] = last - first
        chain.add(Slice, "part", tuple(shape), axis=axis, start=first, stop=last)
    size = run[0][1] - run[0][0]
    step = run[1][0] - run[0][0] if len(run) > 1 else size
    shape[axis] = len(run)
    if (size, step) != (1, 1):
        kernel, stride = [1, 1], [1, 1]
        kernel[axis - 1], stride[axis - 1] = size, step
        chain.add(Pool, "pool", tuple(shape), kind=kind, kernel=tuple(kernel), stride=tuple(stride))
