"""Commands end with one line, whatever ends them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from golden.terminal import Console

REPOSITORY = Path(__file__).resolve().parents[2]


def command(body: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", text(body)],
        cwd=REPOSITORY,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        encoding="latin-1",
        check=False,
    )


def text(body: str) -> str:
    return f"from golden.errors import *\ndef main():\n    {body}\nrun_cli(main)"


def started(body: str) -> subprocess.Popen[str]:
    """A command that runs while the test goes on."""
    return subprocess.Popen(
        [sys.executable, "-c", text(body)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("raise UserError('a\\nb')", "error: a b"),
        ("open('/nowhere/at/all')", "error: /nowhere/at/all: No such file or directory"),
        ("raise OSError('odd')", "error: odd"),
    ],
)
def test_an_error_that_a_user_can_fix_is_one_line(body: str, line: str) -> None:
    done = command(body)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{line}\n")


def test_a_bug_keeps_its_traceback() -> None:
    done = command("raise ValueError('bug')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_ctrl_c_is_one_line_and_status_130() -> None:
    # A shell that runs the tests in the background has them ignore the signal.
    body = (
        "import signal, time; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "print('here', flush=True); time.sleep(60)"
    )
    with started(body) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert (process.returncode, errors) == (130, "interrupted\n")


@pytest.mark.parametrize(
    "command",
    [
        ("quant/export.py",),
        *(("-m", module) for module in ("bench.report", "compiler", "hw.fpga", "tb.sim_core")),
        *(
            ("-m", module)
            for module in ("examples.demo", "quant.choose", "hw.verilog", "tests.fuzz")
        ),
    ],
    ids=lambda command: command[-1],
)
def test_ctrl_c_while_a_command_imports_modules_is_one_line_too(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    """It comes while any of the large packages is imported, whichever a command takes first."""
    text = "import os, signal\n"
    text += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    text += "os.kill(os.getpid(), signal.SIGINT)\n"
    for name in ("amaranth", "numpy", "rich", "torch"):
        (tmp_path / f"{name}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, *command],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "interrupted\n")


@pytest.mark.parametrize(
    "module",
    [
        *("bench", "compiler", "examples", "golden", "hw", "quant", "tb"),
        *("compiler.driver", "golden.network", "quant.runtime.processes"),
    ],
)
def test_a_program_that_imports_a_package_keeps_its_excepthook(module: str) -> None:
    text = f"import sys; before = sys.excepthook; import {module}; assert sys.excepthook is before"
    subprocess.run([sys.executable, "-c", text], cwd=REPOSITORY, check=True)


def test_a_command_reports_bugs_by_the_excepthook_of_before() -> None:
    text = "import sys; sys.excepthook = lambda *error: print(error[1]); import golden.command; 1/0"
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("division by zero\n", "")


def test_a_terminal_that_has_only_ascii_gets_escapes() -> None:
    done = command("print('µ×', chr(0xdcff)); raise UserError('é')", PYTHONIOENCODING="ascii")
    assert done.stdout == "\\xb5\\xd7 \\udcff\n"
    assert (done.returncode, done.stderr) == (2, "error: \\xe9\n")


def test_a_reader_that_leaves_early_is_one_line() -> None:
    """As in `command | head`."""
    body = "[print('line' * 999) for _ in range(999)]"
    with started(body) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        errors = process.stderr.read()
    assert (process.wait(), errors) == (2, "error: [Errno 32] Broken pipe\n")


def test_texts_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    Console().print("a[/x] b[red]c", highlight=False)
    assert capsys.readouterr().out == "a[/x] b[red]c\n"
