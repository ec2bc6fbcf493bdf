"""Verilator's coverage of the core's Verilog: `make coverage`."""
