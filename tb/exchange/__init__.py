"""Files by which a bench, which runs inside the simulator's process, and its caller exchange data."""
