"""Layouts of the data that passes between the parts of the core."""
