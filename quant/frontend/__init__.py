"""Lowering of a PyTorch module to a graph of float layers."""
