"""Finds the simulators, builds Verilog for them, runs benches on them."""
