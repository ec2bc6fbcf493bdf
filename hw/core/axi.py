"""The core's two AXI ports, under the names that tools know them by.

`m_axi`: AXI4 manager. Bursts are incrementing, of whole beats, at most `BURST` of them, and never
leave a block of `BURST` beats, so they cannot cross a 4 KiB boundary. A read's ID is its client's
number; writes have ID 0. `s_axil`: AXI4-Lite subordinate, 32 bits.
"""

from amaranth.hdl import unsigned
from amaranth.lib import data
from amaranth.lib.wiring import In, Member, Out
from amaranth.utils import ceil_log2

from hw.contract.bus import ADDRESS_BITS, BEATS_BITS, ID_BITS, LITE_ADDRESS_BITS
from hw.contract.config import Config

__all__ = [
    "Request",
    "lite_ports",
    "read_ports",
    "write_ports",
]


class Request(data.StructLayout):
    """A run of consecutive beats; `address` is a multiple of a beat's bytes."""

    def __init__(self) -> None:
        super().__init__({"address": unsigned(ADDRESS_BITS), "beats": unsigned(BEATS_BITS)})


def _address_ports(channel: str, config: Config) -> dict[str, Member]:
    return {
        f"m_axi_{channel}id": Out(ID_BITS),
        f"m_axi_{channel}addr": Out(ADDRESS_BITS),
        f"m_axi_{channel}len": Out(8),
        f"m_axi_{channel}size": Out(3, init=ceil_log2(config.bus_bytes)),
        f"m_axi_{channel}burst": Out(2, init=1),
        f"m_axi_{channel}prot": Out(3),
        f"m_axi_{channel}valid": Out(1),
        f"m_axi_{channel}ready": In(1),
    }


def read_ports(config: Config) -> dict[str, Member]:
    """AR and R."""
    return {
        **_address_ports("ar", config),
        "m_axi_rid": In(ID_BITS),
        "m_axi_rdata": In(config.bus_bits),
        "m_axi_rresp": In(2),
        "m_axi_rlast": In(1),
        "m_axi_rvalid": In(1),
        "m_axi_rready": Out(1),
    }


def write_ports(config: Config) -> dict[str, Member]:
    """AW, W and B."""
    return {
        **_address_ports("aw", config),
        "m_axi_wdata": Out(config.bus_bits),
        "m_axi_wstrb": Out(config.bus_bytes),
        "m_axi_wlast": Out(1),
        "m_axi_wvalid": Out(1),
        "m_axi_wready": In(1),
        "m_axi_bid": In(ID_BITS),
        "m_axi_bresp": In(2),
        "m_axi_bvalid": In(1),
        "m_axi_bready": Out(1),
    }


def lite_ports() -> dict[str, Member]:
    """All five channels of the register port."""
    return {
        "s_axil_awaddr": In(LITE_ADDRESS_BITS),
        "s_axil_awprot": In(3),
        "s_axil_awvalid": In(1),
        "s_axil_awready": Out(1),
        "s_axil_wdata": In(32),
        "s_axil_wstrb": In(4),
        "s_axil_wvalid": In(1),
        "s_axil_wready": Out(1),
        "s_axil_bresp": Out(2),
        "s_axil_bvalid": Out(1),
        "s_axil_bready": In(1),
        "s_axil_araddr": In(LITE_ADDRESS_BITS),
        "s_axil_arprot": In(3),
        "s_axil_arvalid": In(1),
        "s_axil_arready": Out(1),
        "s_axil_rdata": Out(32),
        "s_axil_rresp": Out(2),
        "s_axil_rvalid": Out(1),
        "s_axil_rready": In(1),
    }
