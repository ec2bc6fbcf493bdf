"""From a bundle's layers to what the accelerator reads: packed tensors and descriptors."""
