"""Runs a target on many inputs, each of which must be taken or refused by a UserError."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

from golden.errors import UserError
from tests.fuzz.mutations import Draw

__all__ = ["Outcome", "Target", "run_target"]

Target = Callable[[Draw, Path], None]
"""Draws an input, writes it to files of that folder if it is any, and hands it to the product."""

_SECONDS = 30
"""No input may keep the product busy for longer."""


@dataclass
class Outcome:
    """What became of the inputs of a target."""

    taken: int = 0
    refused: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    """The place of an error that is no UserError -> its first traceback."""
    failed: int = 0

    @property
    def inputs(self) -> int:
        return self.taken + self.refused + self.failed


def run_target(
    target: Target,
    folder: Path,
    count: int,
    seed: int,
    report: Callable[[int], object] = lambda done: None,
) -> Outcome:
    """Run a target on `count` inputs. `report` is called with the number of inputs so far."""
    outcome = Outcome()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(st.data())
    def one(data: Draw) -> None:
        try:
            with _time_limit():
                target(data, folder)
        except UserError as error:
            lines = str(error).strip()
            if lines:
                outcome.refused += 1
            else:
                _fail(outcome, "a UserError without a text", "")
        except hypothesis.errors.HypothesisException:
            raise
        except BaseException as error:
            if type(error).__module__.startswith("hypothesis"):
                raise
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{type(error).__name__} in {where.filename}:{where.lineno}"
            _fail(outcome, place, traceback.format_exc())
        else:
            outcome.taken += 1
        report(outcome.inputs)

    one()
    return outcome


def _fail(outcome: Outcome, place: str, text: str) -> None:
    outcome.failed += 1
    outcome.failures.setdefault(place, text)


class _TooLong(BaseException):
    """An input keeps the product busy. No `except Exception` of the product may catch it."""


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise _TooLong(f"not done after {_SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
