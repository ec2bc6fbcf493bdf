"""Lowers the steps of a network to tiles: how a layer is cut, and the words that say so."""
