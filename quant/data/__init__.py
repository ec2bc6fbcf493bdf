"""Datasets: their registry, and one file for each layout of files."""
