"""From a PyTorch network to a bundle: data, models, quantisation, ZAP training, evaluation."""
