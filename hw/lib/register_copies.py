"""Registers that hold the same value, one for each part of the design that reads it.

A flag that thousands of gates read, or the address of a wide memory, takes longer to reach them all
than a clock cycle lasts. With several copies, each can lie close to its readers. Yosys merges
registers that hold the same value, so a platform may provide a flip-flop that Yosys does not
recognise. Without one, as in the Verilog that `make verilog` writes, the copies are plain
registers.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from amaranth import Instance, Module, Signal, Value

from golden.arithmetic import ceil_div

__all__ = ["LANES_PER_COPY", "FlipFlopPlatform", "register_copies"]

LANES_PER_COPY = 8
"""Lanes of a word that share one copy."""


@runtime_checkable
class FlipFlopPlatform(Protocol):
    """A platform that provides the device's own flip-flop."""

    def flip_flop(self, d: Value, q: Value) -> Instance:
        """An instance that sets `q` to `d` at each edge of the clock of `sync`."""


def register_copies(
    m: Module, platform: object, value: Value, users: int, users_per_copy: int = 1
) -> list[Signal]:
    """Registers that hold `value` of the cycle before: one entry for each user.

    `users_per_copy` users share a register. The registers are not reset.
    """
    shape = value.shape()
    registers = [
        Signal(shape, name=f"copy_{n}", reset_less=True)
        for n in range(ceil_div(users, users_per_copy))
    ]
    for copy in registers:
        if isinstance(platform, FlipFlopPlatform):
            m.submodules += [platform.flip_flop(d, q) for d, q in zip(value, copy, strict=True)]
        else:
            m.d.sync += copy.eq(value)
    return [registers[user // users_per_copy] for user in range(users)]
