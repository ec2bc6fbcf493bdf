"""Stimuli for the engine's bench, and their outcomes.

The bench knows only words; `tb.runs.engine` knows their meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golden.arithmetic import ceil_div

__all__ = [
    "Outcome",
    "Stimulus",
    "read_outcomes",
    "read_stimuli",
    "write_outcomes",
    "write_stimuli",
]


@dataclass(frozen=True)
class Stimulus:
    """Everything that the bench sends into the engine for one layer.

    Parameters
    ----------
    descriptor : int
    ifm : uint8 (slices, words, V)
        The ifm buffer from address 0, slice after slice.
    slots : int
        Slices that the buffer holds at a time.
    records : uint8 (words, V)
        The record stream.
    residuals : uint8 (words, G)
        The residual stream; empty where the layer adds nothing.
    ofm_words : int
        How many words must leave the engine.
    pauses : (of records and residuals, of the ofm)
        Share of the cycles in which the bench pauses the streams.
    """

    descriptor: int
    ifm: np.ndarray
    slots: int
    records: np.ndarray
    residuals: np.ndarray
    ofm_words: int
    pauses: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Outcome:
    """The engine's response: ofm uint8 (words, G), and the counters as one number."""

    ofm: np.ndarray
    counters: int


def write_stimuli(path: Path, stimuli: list[Stimulus]) -> None:
    """Write stimuli for `read_stimuli`."""
    arrays: dict[str, np.ndarray] = {}
    for number, stimulus in enumerate(stimuli):
        arrays[f"{number}.descriptor"] = _to_array(stimulus.descriptor)
        arrays[f"{number}.ifm"] = stimulus.ifm
        arrays[f"{number}.slots"] = np.array(stimulus.slots)
        arrays[f"{number}.records"] = stimulus.records
        arrays[f"{number}.residuals"] = stimulus.residuals
        arrays[f"{number}.ofm_words"] = np.array(stimulus.ofm_words)
        arrays[f"{number}.pauses"] = np.array(stimulus.pauses)
    np.savez(path, allow_pickle=False, **arrays)


def read_stimuli(path: Path) -> list[Stimulus]:
    """Read the stimuli of a file in order."""
    with np.load(path) as arrays:
        count = sum(name.endswith(".descriptor") for name in arrays.files)
        return [
            Stimulus(
                descriptor=_to_int(arrays[f"{number}.descriptor"]),
                ifm=arrays[f"{number}.ifm"],
                slots=int(arrays[f"{number}.slots"]),
                records=arrays[f"{number}.records"],
                residuals=arrays[f"{number}.residuals"],
                ofm_words=int(arrays[f"{number}.ofm_words"]),
                pauses=tuple(arrays[f"{number}.pauses"].tolist()),
            )
            for number in range(count)
        ]


def write_outcomes(path: Path, outcomes: list[Outcome]) -> None:
    """Write outcomes for `read_outcomes`."""
    arrays: dict[str, np.ndarray] = {}
    for number, outcome in enumerate(outcomes):
        arrays[f"{number}.ofm"] = outcome.ofm
        arrays[f"{number}.counters"] = _to_array(outcome.counters)
    np.savez(path, allow_pickle=False, **arrays)


def read_outcomes(path: Path) -> list[Outcome]:
    """Read the outcomes of a file in order."""
    with np.load(path) as arrays:
        count = sum(name.endswith(".counters") for name in arrays.files)
        return [
            Outcome(arrays[f"{number}.ofm"], _to_int(arrays[f"{number}.counters"]))
            for number in range(count)
        ]


def _to_array(number: int) -> np.ndarray:
    return np.frombuffer(number.to_bytes(ceil_div(number.bit_length(), 8), "little"), np.uint8)


def _to_int(array: np.ndarray) -> int:
    return int.from_bytes(array.tobytes(), "little")
