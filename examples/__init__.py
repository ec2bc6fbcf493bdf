"""Examples to run first."""
