"""Compiles bundles into programs for the accelerator; the host's driver runs them."""

import golden  # noqa: F401  # Ctrl-C is one line from here on
