"""cocotb benches of the emitted Verilog, and the glue that builds and runs them."""

import golden  # noqa: F401  # Ctrl-C is one line from here on
