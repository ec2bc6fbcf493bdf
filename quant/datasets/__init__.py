"""The built-in datasets, one file for each layout, from files to a `quant.split.Source`."""
