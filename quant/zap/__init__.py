"""Zero-activation predictors: their training and their quantisation."""
