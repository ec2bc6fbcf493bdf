"""Signatures of the core's two bus ports, AXI4 to memory and AXI4-Lite to the registers.

Every signature is that of a manager: a manager has it as an `Out` member, a subordinate as an `In`
member. Members have the names of the AXI specification, in lower case, so `m_axi.read.araddr`
becomes `m_axi_araddr` in Verilog (`hw.verilog_output`).

The core's bursts are incrementing, of whole beats, and at most `BURST` beats long. They never leave
a block of `BURST` beats, so they cannot cross a 4 KiB boundary. A read's ID is its client's number;
writes have ID 0. Both ports use only what this needs: there are no caches, locks or regions.
"""

from __future__ import annotations

from amaranth.hdl import unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Member, Out
from amaranth.utils import ceil_log2

from hw.contract.bus import ADDRESS_BITS, BEATS_BITS, ID_BITS, LITE_ADDRESS_BITS

__all__ = [
    "Axi4LiteSignature",
    "Axi4ReadSignature",
    "Axi4Signature",
    "Axi4WriteSignature",
    "Request",
]

_INCREMENTING = 1
"""Value of `arburst` and `awburst`."""


class Request(data.StructLayout):
    """A run of consecutive beats; `address` is a multiple of a beat's bytes."""

    def __init__(self) -> None:
        super().__init__({"address": unsigned(ADDRESS_BITS), "beats": unsigned(BEATS_BITS)})


class _DataSignature(wiring.Signature):
    """A signature that is given by the width of its data.

    Parameters
    ----------
    data_bits : int
        Width of a beat: 8 times a power of two.
    """

    def __init__(self, members: dict[str, Member], *, data_bits: int) -> None:
        self._data_bits = data_bits
        super().__init__(members)

    @property
    def data_bits(self) -> int:
        """Width of a beat."""
        return self._data_bits

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._data_bits == other._data_bits

    def __repr__(self) -> str:
        return f"{type(self).__name__}(data_bits={self._data_bits})"


class Axi4ReadSignature(_DataSignature):
    """The channels AR and R of an AXI4 port."""

    def __init__(self, *, data_bits: int) -> None:
        super().__init__(
            {
                **_address_channel("ar", data_bits),
                "rid": In(ID_BITS),
                "rdata": In(data_bits),
                "rresp": In(2),
                "rlast": In(1),
                "rvalid": In(1),
                "rready": Out(1),
            },
            data_bits=data_bits,
        )


class Axi4WriteSignature(_DataSignature):
    """The channels AW, W and B of an AXI4 port."""

    def __init__(self, *, data_bits: int) -> None:
        super().__init__(
            {
                **_address_channel("aw", data_bits),
                "wdata": Out(data_bits),
                "wstrb": Out(data_bits // 8),
                "wlast": Out(1),
                "wvalid": Out(1),
                "wready": In(1),
                "bid": In(ID_BITS),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
            },
            data_bits=data_bits,
        )


class Axi4Signature(_DataSignature):
    """A whole AXI4 port; its two halves are independent of each other."""

    def __init__(self, *, data_bits: int) -> None:
        super().__init__(
            {
                "read": Out(Axi4ReadSignature(data_bits=data_bits)),
                "write": Out(Axi4WriteSignature(data_bits=data_bits)),
            },
            data_bits=data_bits,
        )


class Axi4LiteSignature(wiring.Signature):
    """An AXI4-Lite port of 32 bits for one page of registers."""

    def __init__(self) -> None:
        super().__init__(
            {
                "awaddr": Out(LITE_ADDRESS_BITS),
                "awprot": Out(3),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(32),
                "wstrb": Out(4),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
                "araddr": Out(LITE_ADDRESS_BITS),
                "arprot": Out(3),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(32),
                "rresp": In(2),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __repr__(self) -> str:
        return "Axi4LiteSignature()"


def _address_channel(channel: str, data_bits: int) -> dict[str, Member]:
    return {
        f"{channel}id": Out(ID_BITS),
        f"{channel}addr": Out(ADDRESS_BITS),
        f"{channel}len": Out(8),
        # The stubs of Amaranth still call `init` `reset`.
        f"{channel}size": Out(3, init=ceil_log2(data_bits // 8)),  # type: ignore[call-arg]
        f"{channel}burst": Out(2, init=_INCREMENTING),  # type: ignore[call-arg]
        f"{channel}prot": Out(3),
        f"{channel}valid": Out(1),
        f"{channel}ready": In(1),
    }
