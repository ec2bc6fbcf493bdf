"""From the core to an FPGA with open tools: how much of it is taken, and how fast it may run."""
