"""The core in a LiteX system with a RISC-V processor; runs in an environment of its own."""
