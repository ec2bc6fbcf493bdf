"""The contract between the core and its hosts: configuration, programs, records, registers.

Nothing here imports Amaranth: the compiler and the driver need no more of the hardware than this.
"""
