"""The PyTorch side: data, networks, quantisation, ZAPs, operating points, and their commands."""
