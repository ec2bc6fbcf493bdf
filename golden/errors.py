"""The one kind of error that a user can fix.

Every command line of the project prints a `UserError` as a single line and exits with status 2;
anything else is a bug and keeps its traceback.
"""

import sys
from collections.abc import Callable

__all__ = ["UserError", "run_cli", "tell"]


class UserError(Exception):
    """An error that a user can fix. Its text says what is wrong, where, and what to do about it."""


def tell(error: UserError) -> None:
    """Print an error as one line on stderr."""
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)


def run_cli(main: Callable[[], int | None]) -> None:
    """Run a command line's `main` and exit with the status that it returns, None for 0.

    A UserError becomes one line on stderr and exit status 2.
    """
    try:
        status = main()
    except UserError as error:
        tell(error)
        status = 2
    if status:
        sys.exit(status)
