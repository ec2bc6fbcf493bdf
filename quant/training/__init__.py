"""Training of networks: the trainer, augmentation, recalibration, fine-tuning."""
