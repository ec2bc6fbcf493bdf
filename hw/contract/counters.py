"""The performance counters: their names, what they count, and how they lie in memory."""

from __future__ import annotations

from golden.arithmetic import ceil_div

__all__ = [
    "CORE_COUNTERS",
    "COUNTER_BITS",
    "ENGINE_COUNTERS",
    "STORED_BYTES",
    "TOTAL_BITS",
]

ENGINE_COUNTERS = {
    "cycles": "from start to the last ofm word's departure",
    "busy": "cycles in which the array multiplied",
    "wait_loads": "array idle, its next channel's record or residual not loaded yet",
    "wait_ofm": "array idle, both ofm banks taken: one still leaves",
    "wait_predictor": "array idle, all it could do depends on scores not known yet",
    "computed": "activations of I_s",
    "kept": "activations of I_t whose score exceeded the threshold",
    "skipped": "activations of I_t predicted zero",
}
"""The layer engine's counters of a tile. The rest of `cycles` is fill and drain."""

CORE_COUNTERS = {
    **ENGINE_COUNTERS,
    "elapsed": "cycles since the tile before was done, or since the program's start",
    "beats_read": "beats read from memory in these cycles, some of them for the next tile",
    "beats_written": "beats written to memory in these cycles",
}
"""The core's counters of a tile: the engine's, and the time and traffic up to its end."""

COUNTER_BITS = 40
"""Width of a counter in the core: three hours at 100 MHz."""
TOTAL_BITS = 64
"""Width of a counter in the registers and in memory."""

_BEAT_BYTES = 16  # of the widest bus
STORED_BYTES = _BEAT_BYTES * ceil_div(len(CORE_COUNTERS) * TOTAL_BITS // 8, _BEAT_BYTES)
"""Bytes that a tile's counters take in memory: whole beats of any bus.

They lie there in the order of `CORE_COUNTERS`, `TOTAL_BITS` each.
"""
