"""Proofs about the hardware: harnesses, and what runs them; `python -m tests.formal --help`."""
