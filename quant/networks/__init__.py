"""The built-in networks, one file for each family, with the published layer shapes."""
