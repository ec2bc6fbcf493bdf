"""The built-in networks, with the published layer shapes; one module for each family."""
