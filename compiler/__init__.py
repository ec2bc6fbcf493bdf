"""Compiles bundles into programs for the accelerator; the host's driver runs them."""
