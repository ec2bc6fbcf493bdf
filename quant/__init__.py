"""The PyTorch side: data, networks, quantisation, ZAPs, operating points, and their commands."""

import golden  # noqa: F401  # Ctrl-C is one line from here on
