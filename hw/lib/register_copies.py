"""Registers that hold the same: one for each part of what a flag decides.

A flag that thousands of wires wait for, or a memory's address, takes longer to reach them than a
cycle has; copies of it lie each where it is needed. Synthesis by Yosys makes one of registers that
hold the same. So a platform may bring a flip-flop of its own; without one, as in the Verilog that
`make verilog` writes, they are plain registers.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from amaranth import Module, Signal, Value

__all__ = ["LANES_TOGETHER", "FlipFlopPlatform", "copies"]

LANES_TOGETHER = 8
"""Lanes that share a copy."""


@runtime_checkable
class FlipFlopPlatform(Protocol):
    """What `elaborate` is given where flip-flops are a device's own."""

    def flip_flop(self, d: Value, q: Value) -> Any:
        """An instance that makes `q` what `d` was a cycle before, in the domain `sync`."""


def copies(
    m: Module, platform: object, value: Value, users: int, together: int = 1
) -> list[Signal]:
    """For each user a register with `value` as it was a cycle before; so many of them share one.

    No reset reaches them.
    """
    shape = value.shape()
    registers = [
        Signal(shape, name=f"copy_{n}", reset_less=True) for n in range(-(-users // together))
    ]
    for copy in registers:
        if isinstance(platform, FlipFlopPlatform):
            m.submodules += [platform.flip_flop(d, q) for d, q in zip(value, copy, strict=True)]
        else:
            m.d.sync += copy.eq(value)
    return [registers[user // together] for user in range(users)]
