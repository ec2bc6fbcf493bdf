"""The accelerator in Amaranth: configuration, blocks, the layer engine and its Verilog."""

import golden  # noqa: F401  # Ctrl-C is one line from here on
