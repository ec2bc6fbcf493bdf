"""cocotb benches of the emitted Verilog, and the glue that builds and runs them."""
