"""Defects planted in `hw` one at a time, and whether the tests find them: `make mutants`."""
