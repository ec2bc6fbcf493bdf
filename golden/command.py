"""Ctrl-C is one line on stderr: the first import of every command, before all that takes time.

Importing this module sets `sys.excepthook`, so only commands do it. From then on Ctrl-C prints no
traceback while other modules, such as torch, are still being imported; `golden.errors.run_cli`
takes over when a command's `main` begins.
"""

import sys
from types import TracebackType

from golden.errors import tell_interrupted

__all__: list[str] = []


def _report(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Report an interruption in one line, anything else as before.

    Python then ends by the signal, which shells show as status 130.
    """
    if issubclass(kind, KeyboardInterrupt):
        tell_interrupted()
    else:
        _before(kind, error, traceback)


_before = sys.excepthook
sys.excepthook = _report
