"""Procedures that join the other packages: a quantised network, an untrained bundle, a choice."""
