"""Procedures that join the other packages, for the commands."""
