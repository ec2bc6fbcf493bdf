"""From a PyTorch module to a network of operations."""
