"""The core on an FPGA, with open tools: the resources it takes, and how fast it runs."""
