"""Benchmarks: figures of merit, and the commands that measure and report them."""

import golden  # noqa: F401  # Ctrl-C is one line from here on
