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
    """The outcomes of a target's inputs."""

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
    """Limit the processor's time, which does not depend on other processes, and that of a wait."""
    limits = {
        signal.SIGPROF: (signal.ITIMER_PROF, _SECONDS),
        signal.SIGALRM: (signal.ITIMER_REAL, 10 * _SECONDS),
    }

    def stop(number: int, frame: FrameType | None) -> None:
        raise _TooLong(f"not done after {limits[signal.Signals(number)][1]} s")

    before = {number: signal.signal(number, stop) for number in limits}
    for timer, seconds in limits.values():
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for timer, _ in limits.values():
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
