"""Benchmarks: figures of merit, and the commands that measure and report them."""
