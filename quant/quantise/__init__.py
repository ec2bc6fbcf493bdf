"""Quantisation of a graph of float layers to the integer network of a bundle."""
