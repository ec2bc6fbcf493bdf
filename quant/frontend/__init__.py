"""From a PyTorch module to a graph of float layers."""
