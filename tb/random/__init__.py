"""Random layers and networks, with the corner cases that real networks seldom reach."""
