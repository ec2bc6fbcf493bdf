"""The specification that runs: patterns, integer arithmetic, layers, bundles, networks."""
