"""Commands with hostile options, as a target."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import random
import shutil
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import cache
from pathlib import Path
from unittest import mock

from hypothesis import strategies as st

from golden.errors import UserError, run_cli
from tb.random.networks import random_network
from tests.fuzz.mutations import HOSTILE_TEXTS, Draw
from tests.hw.small_configs import STRIPS

__all__ = ["commands"]

# Each ends soon even where the hostile options do not end it: the bundle's network takes no digits.
_COMMANDS = {
    "quant.evaluate": ["bundle"],
    "quant.choose": ["bundle", "--out", "out", "--max-drop", "1"],
    "quant.zap_precision": ["bundle", "--zaps", "file"],
    "quant.train": ["--model", "file.py:net", "--out", "out"],
    "quant.export": ["--model", "file.py:net", "--out", "out"],
    "compiler.__main__": ["bundle", "--config", "small", "--out", "out"],
    "hw.verilog": ["--config", "file"],
    "hw.fpga.__main__": ["--device", "none"],
    "tb.sim": ["--bundle", "bundle", "--image", "file"],
    "tb.sim_core": ["--bundle", "bundle", "--image", "file"],
    "tb.sim_full": ["none"],
    "tb.random_layers": ["--config", "file"],
    "tb.random_networks": ["--config", "file"],
    "bench.explore": ["none"],
    "bench.report": ["bundle", "--results", "file"],
    "bench.estimate": ["--bundle", "bundle", "--config", "file"],
    "examples.demo": ["--bundle", "bundle", "--config", "file"],
}
_PATHS = ("file", "bundle", "pipe", "link", "absent", "file/below", "/dev/null", "/proc/self/x")


@cache
def _module(name: str) -> tuple[object, list[argparse.Action]]:
    """A command's module, and its options."""
    if name in ("bench.report", "bench.estimate"):
        name += ".__main__"
    module = importlib.import_module(name)
    found: list[argparse.Action] = []

    def stop(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        found.extend(action for action in parser._actions if action.option_strings)
        raise KeyboardInterrupt

    parsing = mock.patch.object(argparse.ArgumentParser, "parse_args", stop)
    with parsing, suppress(KeyboardInterrupt):
        module.main()
    return module, [action for action in found if "--help" not in action.option_strings]


def _prepare(folder: Path) -> Path:
    """Make a new folder to run in, so deep that no path of `HOSTILE_TEXTS` leads out of it."""
    shutil.rmtree(folder / "run", ignore_errors=True)
    here = folder / "run" / "a" / "b" / "c"
    here.mkdir(parents=True)
    random_network(STRIPS, random.Random(2)).save(here / "bundle")
    (here / "file").write_text("precious")
    (here / "link").symlink_to(here / "file")
    os.mkfifo(here / "pipe")
    return here


def commands(data: Draw, folder: Path) -> None:
    """A command with one to three options that are hostile; it prints one line if it refuses."""
    name = data.draw(st.sampled_from(sorted(_COMMANDS)), label="command")
    module, options = _module(name)
    line = list(_COMMANDS[name])
    for _ in range(data.draw(st.integers(1, 3), label="options")):
        option = data.draw(st.sampled_from(options), label="option")
        line.append(option.option_strings[-1])
        if option.nargs != 0:
            line.append(data.draw(st.sampled_from((*HOSTILE_TEXTS, *_PATHS)), label="value"))
    here = _prepare(folder)
    before = Path.cwd()
    errors = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace")
    os.chdir(here)
    try:
        with (
            mock.patch("sys.argv", ["command", *line]),
            redirect_stdout(io.StringIO()),
            redirect_stderr(errors),
        ):
            run_cli(module.main)  # type: ignore[attr-defined]
        status: object = 0
    except SystemExit as exit:
        status = exit.code
    finally:
        os.chdir(before)
    errors.flush()
    told = errors.buffer.getvalue().decode().splitlines()  # type: ignore[attr-defined]
    left = [path.name for path in (folder / "run").rglob(".zapcore-*")]
    assert left == []
    assert (here / "file").read_text() == "precious"
    assert (here / "link").is_symlink()
    told = [text for text in told if not text.endswith(("0/1", "1/1"))]  # progress
    if status == 2:
        assert len(told) == 1, told
        assert told[0].startswith("error: ")
        raise UserError(told[0])
    assert status == 0, (line, told)
