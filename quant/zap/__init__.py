"""Zero-activation predictors: their training, quantisation and files."""
