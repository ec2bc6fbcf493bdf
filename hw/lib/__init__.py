"""Small hardware components and helpers that know nothing of the accelerator."""
