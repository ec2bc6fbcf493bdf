"""Datasets: their registry, and one module for each layout of files."""
