"""Small parts of hardware that know nothing of the accelerator."""
