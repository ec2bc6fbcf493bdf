"""The one kind of error that a user can fix, and how a command ends.

Every command line of the project prints a `UserError`, or an OSError that nothing has turned into
one, as a single line and exits with status 2. Ctrl-C ends it with one line and status 130. Anything
else is a bug and keeps its traceback.
"""

import io
import os
import sys
from collections.abc import Callable

__all__ = [
    "INTERRUPTED",
    "UserError",
    "print_anything",
    "run_cli",
    "tell",
    "tell_interrupted",
]

INTERRUPTED = 130
"""The exit status of a command that Ctrl-C ended, as shells have it."""


class UserError(Exception):
    """An error that a user can fix. Its text says what is wrong, where, and what to do about it."""


def tell(error: UserError | OSError) -> None:
    """Print an error as one line on stderr."""
    text = str(error)
    if isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    print(f"error: {' '.join(text.split())}", file=sys.stderr)


def tell_interrupted() -> None:
    """Say on stderr that the command was interrupted."""
    print("interrupted", file=sys.stderr)


def print_anything() -> None:
    """Let stdout and stderr print any text: what their encoding lacks is escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def run_cli(main: Callable[[], int | None]) -> None:
    """Run a command line's `main` and exit with the status that it returns, None for 0.

    A UserError becomes one line on stderr and exit status 2.
    """
    print_anything()
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError as error:  # such as `| head`: what is still in the buffer has no reader
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        tell(error)
        status = 2
    except (UserError, OSError) as error:
        tell(error)
        status = 2
    except KeyboardInterrupt:
        tell_interrupted()
        status = INTERRUPTED
    if status:
        sys.exit(status)
