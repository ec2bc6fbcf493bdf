"""The ZAP predictor: which activations of `I_t` are computed."""
