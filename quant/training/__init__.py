"""Training of networks: augmentation, recalibration, fine-tuning."""
