"""Latencies and queue depths of the core that the cycle model (`compiler.cycles`) needs.

The RTL takes its figures from here. Where a latency follows from a pipeline's stages, the pipeline
asserts when it is elaborated that it has that many.
"""

from __future__ import annotations

from golden.arithmetic import ceil_div
from golden.pattern import MAX_PERIOD
from hw.contract.bus import BURST
from hw.contract.config import Config

__all__ = [
    "ADDER_LEVELS_PER_STAGE",
    "BUFFER_READ_LATENCY",
    "PREDICTOR_LATENCY",
    "READ_QUEUE",
    "REQUANTISER_LATENCY",
    "SCHEDULER_LATENCY",
    "VALUE_QUEUE",
    "array_latency",
    "predictor_steps",
]

BUFFER_READ_LATENCY = 5
"""Cycles from an address at the ifm or weight buffer to its word."""
ADDER_LEVELS_PER_STAGE = 2
"""Levels of a PE's adder tree in a pipeline stage. The first level has a stage to itself."""
REQUANTISER_LATENCY = 12
"""Cycles from the array's result to its activation."""
PREDICTOR_LATENCY = 15
"""Cycles from a channel's last position to its end mark, and on to the next channel."""
SCHEDULER_LATENCY = 2 * MAX_PERIOD + 2
"""Cycles between a start of the pattern scheduler and its first item."""

READ_QUEUE = 4 * BURST
"""Beats that a client of the read port may have asked for and not taken; they hide the latency of
the memory."""
VALUE_QUEUE = 512
"""Activations that may wait before the predictor, while it ends the channel before and goes through
the rows that are restored to their channel."""


def array_latency(config: Config) -> int:
    """Cycles from a task's last word at the buffers to its first result."""
    multiplier, accumulator, queue = 2, 1, 1
    levels = config.lanes.bit_length() - 1  # log2
    adders = 1 + levels // ADDER_LEVELS_PER_STAGE
    return BUFFER_READ_LATENCY + multiplier + adders + accumulator + queue


def predictor_steps(config: Config, width: int) -> int:
    """Steps, of a cycle each, in which the predictor goes through a row of `width` pixels.

    It goes two columns past the row, to bring in its padding. A row takes two steps at least: the
    second one is in the line buffer when the next row begins.
    """
    return max(ceil_div(width + 2, config.predictor_positions), 2)
