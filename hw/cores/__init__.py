"""Several cores on one memory port: what joins their registers and their bursts."""
