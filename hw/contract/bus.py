"""Sizes of the core's two bus ports, on which the RTL, the compiler and the driver agree.

`m_axi` is the AXI4 manager port to memory. `s_axil` is the AXI4-Lite subordinate port to the
registers. `hw.core.axi` builds both ports from these sizes.
"""

__all__ = ["ADDRESS_BITS", "BEATS_BITS", "BURST", "ID_BITS", "LITE_ADDRESS_BITS"]

ADDRESS_BITS = 32
"""Width of a memory address. Memory is addressed in bytes, so a core reaches 4 GiB."""
LITE_ADDRESS_BITS = 12
"""Width of a register address. The registers fill a page of 4 KiB."""
ID_BITS = 2
"""Width of a transaction ID. A read's ID is its client's number."""
BURST = 32
"""Longest burst in beats; a power of two."""
BEATS_BITS = 24
"""Width of a request's length in beats. The largest plane of an ofm or kernel needs fewer bits."""
