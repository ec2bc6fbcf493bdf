"""Clamps (ReLU and its like) move to the convolutions whose results they limit."""

from __future__ import annotations

from dataclasses import replace

from quant.frontend.operations import (
    INPUT,
    Clamp,
    Concat,
    DepthToSpace,
    Dropout,
    Flatten,
    Network,
    Operation,
    Pool,
    Shuffle,
    Slice,
    UnevenPool,
    Upsample,
)

__all__ = ["hoist_clamps", "never_negative"]


_Moves = Concat | DepthToSpace | Flatten | Shuffle | Slice | Dropout | Upsample
"""Operations that hand numbers on as they are."""


def hoist_clamps(network: Network) -> None:
    """Move clamps before max pooling, concat, dropout and what selects; drop idle ones.

    They commute: the largest of limited numbers is the limited largest. A clamp stays where
    something else reads what is before it.
    """
    pending = [o for o in network.operations if isinstance(o, Clamp)]
    while pending:
        clamp = pending.pop()
        if _is_idle(network, clamp):
            network.remove(clamp)
            continue
        maker = network.maker(clamp)
        if maker is None or not network.read_once(maker.name):
            continue
        if isinstance(maker, Clamp):
            low = max(maker.low, clamp.low)
            high = max(min(maker.high, clamp.high), low)
            both = replace(clamp, low=low, high=high, inputs=list(maker.inputs))
            network.replace(clamp, both)
            network.remove(maker)
            pending = [*(other for other in pending if other is not maker), both]
        elif _commutes(maker):
            pending += _move_before(network, clamp, maker)


def never_negative(network: Network, name: str) -> bool:
    """Return whether nothing in tensor `name` can be negative."""
    if name == INPUT:
        return False
    operation = network.operation(name)
    if isinstance(operation, Clamp):
        return operation.low >= 0
    if isinstance(operation, Pool | UnevenPool | _Moves):
        return all(never_negative(network, tensor) for tensor in operation.inputs)
    return False


def _is_idle(network: Network, clamp: Clamp) -> bool:
    return clamp.high == float("inf") and (
        clamp.low == float("-inf") or (clamp.low <= 0 and never_negative(network, clamp.inputs[0]))
    )


def _commutes(operation: Operation) -> bool:
    if isinstance(operation, Pool | UnevenPool):
        return operation.kind == "max_pool"
    return isinstance(operation, _Moves)


def _move_before(network: Network, clamp: Clamp, maker: Operation) -> list[Clamp]:
    """Put a copy of the clamp before each input of `maker`; returns the copies."""
    copies = []
    for tensor in dict.fromkeys(maker.inputs):
        copy = Clamp(
            name=network.new_name(clamp.name),
            inputs=[tensor],
            shape=network.shape(tensor),
            where=clamp.where,
            low=clamp.low,
            high=clamp.high,
        )
        copy.stands_for = None
        network.insert_before(maker, copy)
        copies.append(copy)
    maker.stands_for = clamp.stands_for
    network.remove(clamp)
    return copies
