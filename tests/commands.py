"""Checks of command lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from golden.errors import run_cli

__all__ = ["assert_refused"]


def assert_refused(
    main: Callable[[], int | None],
    arguments: Sequence[str | Path],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Assert that a command ends with status 2 and one line on stderr that contains `message`."""
    monkeypatch.setattr("sys.argv", ["command", *(str(argument) for argument in arguments)])
    with pytest.raises(SystemExit) as caught:
        run_cli(main)
    assert caught.value.code == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert message in errors[0]
