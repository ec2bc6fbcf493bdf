"""Examples to run first."""

import golden  # noqa: F401  # Ctrl-C is one line from here on
