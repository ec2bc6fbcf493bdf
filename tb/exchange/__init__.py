"""Files by which a bench, in the simulator's process, and its caller exchange data."""
