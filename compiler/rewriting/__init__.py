"""Rewrites a network into one that the core runs and that gives the same numbers."""
