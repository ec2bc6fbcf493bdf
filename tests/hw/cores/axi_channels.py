"""Single channels of AXI, for testbenches that drive a component's ports themselves.

A channel is named as its signals are: `ar` of a port has `arvalid`, `arready` and its fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from typing import Any

from tests.hw.amaranth_testbench import Testbench, pauses

__all__ = ["NEVER", "blocks", "collects", "fields_of", "offer", "watches"]

NEVER = repeat(False)
"""No pause at all."""


def blocks(channel: str, blocked: str, seed: int) -> Iterator[bool]:
    """Pauses of a port that takes nothing at first on the channels that `blocked` names.

    Its other channels never pause. Where none is blocked, all pause at random.
    """
    if not blocked:
        return pauses(seed)
    return chain([True] * 400, NEVER) if channel in blocked.split() else NEVER


def fields_of(side: Any, channel: str, names: Sequence[str]) -> list[Any]:
    """The signals of a channel with these names."""
    return [getattr(side, f"{channel}{name}") for name in names]


async def offer(context: Any, side: Any, channel: str, **fields: int) -> None:
    """Offer a transfer until it is taken. Testbenches in the background may use it."""
    valid, ready = fields_of(side, channel, ("valid", "ready"))
    for name, value in fields.items():
        context.set(getattr(side, f"{channel}{name}"), value)
    context.set(valid, 1)
    taken = False
    while not taken:
        *_, taken = await context.tick().sample(ready)
    context.set(valid, 0)


def collects(
    side: Any, channel: str, names: Sequence[str], into: list[Any], pause: Iterator[bool]
) -> Testbench:
    """A testbench that takes transfers for ever, with pauses, and keeps what their fields say."""
    valid, ready = fields_of(side, channel, ("valid", "ready"))

    async def testbench(context: Any) -> None:
        while True:
            context.set(ready, not next(pause))
            _, _, taken, *said = await context.tick().sample(
                valid & ready, *fields_of(side, channel, names)
            )
            if taken:
                into.append(tuple(said))

    return testbench


def watches(side: Any, channel: str, names: Sequence[str]) -> Testbench:
    """A testbench that fails where an offer is withdrawn, or changes before it is taken."""
    signals = fields_of(side, channel, ("valid", "ready", *names))

    async def testbench(context: Any) -> None:
        held: list[int] | None = None
        async for _, _, valid, ready, *said in context.tick().sample(*signals):
            if held is not None:
                assert valid, f"an offer on {channel} is withdrawn"
                assert said == held, f"an offer on {channel} changes"
            held = said if valid and not ready else None

    return testbench
