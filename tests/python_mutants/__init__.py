"""Defects planted in the Python of golden model and compiler, by mutmut: `make mutants-python`."""
