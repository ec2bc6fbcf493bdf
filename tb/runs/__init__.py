"""Runs of layers and programs on a simulator, compared with golden."""
