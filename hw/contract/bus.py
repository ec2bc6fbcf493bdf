"""Sizes of the core's two bus ports, on which the RTL, the compiler and the driver agree.

`m_axi` is the AXI4 manager port to memory. `s_axil` is the AXI4-Lite subordinate port to the
registers. `hw.core.axi` builds both ports from these sizes.
"""

__all__ = ["BEATS_BITS", "BURST", "ID_BITS", "LITE_ADDRESS_BITS", "OFFSET_BITS", "PAGE_BITS"]

OFFSET_BITS = 32
"""Width of an offset into the window, in bytes: a window has less than 4 GiB."""
PAGE_BITS = 12
"""A window begins and ends at multiples of 2**PAGE_BITS bytes, the page that no burst may cross."""
LITE_ADDRESS_BITS = 12
"""Width of a register address. The registers fill a page of 4 KiB."""
ID_BITS = 2
"""Width of a transaction ID. A read's ID is its client's number."""
BURST = 32
"""Longest burst in beats; a power of two."""
BEATS_BITS = 24
"""Width of a request's length in beats. The largest plane of an ofm or kernel needs fewer bits."""
