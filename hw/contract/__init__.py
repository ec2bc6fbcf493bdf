"""What the core and its hosts agree on: configuration, programs, registers."""
