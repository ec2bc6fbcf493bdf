"""Two other systems that skip zeros, for comparison."""
