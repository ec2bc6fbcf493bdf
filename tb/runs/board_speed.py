"""Images a second that a board's clock and memory allow."""

from __future__ import annotations

from compiler.costs import NetworkCosts
from golden.bundle import Bundle
from hw.contract.config import Config
from hw.soc.boards import Board

__all__ = ["frames"]


def frames(bundle: Bundle, config: Config, board: Board) -> dict[str, float]:
    """Return the most images a second, without ZAP: what the core and the memory each allow.

    The core's is the clock over the cycles of the cycle model. The memory's is the clock over the
    cycles in which the memory's pins move the bytes that the core reads and writes, if they did
    nothing else.
    """
    costs = NetworkCosts(bundle, config)
    cycles = sum(layer.elapsed for layer in costs.cycles().values())
    beats = sum(layer.read + layer.written for layer in costs.beats().values())
    clock = board.clock_mhz * 1e6
    moving = beats * config.bus_bytes / board.bytes_a_cycle
    return {
        "core_cycles": round(cycles),
        "bytes_moved": beats * config.bus_bytes,
        "core_allows": round(clock / cycles, 1),
        "memory_allows": round(clock / moving, 1),
    }
