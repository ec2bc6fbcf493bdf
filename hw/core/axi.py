"""Signatures of the core's two bus ports, AXI4 to memory and AXI4-Lite to the registers.

Every signature is that of a manager: a manager has it as an `Out` member, a subordinate as an `In`
member. Members have the names of the AXI specification, in lower case, so `m_axi.read.araddr`
becomes `m_axi_araddr` in Verilog (`hw.verilog_output`).

The core's bursts are incrementing, of whole beats, and at most `BURST` beats long. They never leave
a block of `BURST` beats, so they cannot cross a 4 KiB boundary. A read's ID is its client's number;
writes have ID 0. Protection and cache attributes are the configuration's; there are no locks, no
regions and no quality of service, so these members are constant.
"""

from __future__ import annotations

from amaranth.hdl import unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Member, Out
from amaranth.utils import ceil_log2

from hw.contract.bus import BEATS_BITS, ID_BITS, LITE_ADDRESS_BITS, OFFSET_BITS
from hw.contract.config import Config

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
    """A run of consecutive beats; `address` is an offset into the window, of whole beats."""

    def __init__(self) -> None:
        super().__init__({"address": unsigned(OFFSET_BITS), "beats": unsigned(BEATS_BITS)})


class _SizedSignature(wiring.Signature):
    """A signature that is given by the sizes of a bus.

    Parameters
    ----------
    config : Config
        Gives the width of addresses, and the attributes of every burst.
    data_bits : int or None
        Width of a beat; None for that of the configuration.
    id_bits : int
        Width of a transaction ID.
    """

    def __init__(
        self,
        config: Config,
        *,
        data_bits: int | None = None,
        id_bits: int = ID_BITS,
    ) -> None:
        self._sizes = {
            "data_bits": config.bus_bits if data_bits is None else data_bits,
            "address_bits": config.address_bits,
            "prot": config.axi_prot,
            "cache": config.axi_cache,
        }
        if id_bits != ID_BITS:
            self._sizes["id_bits"] = id_bits
        super().__init__(self._members(config))

    def _members(self, config: Config) -> dict[str, Member]:
        raise NotImplementedError

    def _address_channel(self, channel: str, config: Config) -> dict[str, Member]:
        size = ceil_log2(self.data_bits // 8)
        # The stubs of Amaranth still call `init` `reset`.
        return {
            f"{channel}id": Out(self.id_bits),
            f"{channel}addr": Out(config.address_bits),
            f"{channel}len": Out(8),
            f"{channel}size": Out(3, init=size),  # type: ignore[call-arg]
            f"{channel}burst": Out(2, init=_INCREMENTING),  # type: ignore[call-arg]
            f"{channel}lock": Out(1),
            f"{channel}cache": Out(4, init=config.axi_cache),  # type: ignore[call-arg]
            f"{channel}prot": Out(3, init=config.axi_prot),  # type: ignore[call-arg]
            f"{channel}qos": Out(4),
            f"{channel}region": Out(4),
            f"{channel}valid": Out(1),
            f"{channel}ready": In(1),
        }

    @property
    def data_bits(self) -> int:
        """Width of a beat."""
        return self._sizes["data_bits"]

    @property
    def id_bits(self) -> int:
        """Width of a transaction ID."""
        return self._sizes.get("id_bits", ID_BITS)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._sizes == other._sizes

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}={value}" for name, value in self._sizes.items())
        return f"{type(self).__name__}({sizes})"


class Axi4ReadSignature(_SizedSignature):
    """The channels AR and R of an AXI4 port."""

    def _members(self, config: Config) -> dict[str, Member]:
        return {
            **self._address_channel("ar", config),
            "rid": In(self.id_bits),
            "rdata": In(self.data_bits),
            "rresp": In(2),
            "rlast": In(1),
            "rvalid": In(1),
            "rready": Out(1),
        }


class Axi4WriteSignature(_SizedSignature):
    """The channels AW, W and B of an AXI4 port."""

    def _members(self, config: Config) -> dict[str, Member]:
        return {
            **self._address_channel("aw", config),
            "wdata": Out(self.data_bits),
            "wstrb": Out(self.data_bits // 8),
            "wlast": Out(1),
            "wvalid": Out(1),
            "wready": In(1),
            "bid": In(self.id_bits),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
        }


class Axi4Signature(_SizedSignature):
    """A whole AXI4 port; its two halves are independent of each other."""

    def _members(self, config: Config) -> dict[str, Member]:
        sizes = {"data_bits": self.data_bits, "id_bits": self.id_bits}
        return {
            "read": Out(Axi4ReadSignature(config, **sizes)),
            "write": Out(Axi4WriteSignature(config, **sizes)),
        }


class Axi4LiteSignature(wiring.Signature):
    """An AXI4-Lite port of 32 bits for registers; the core's are one page.

    Parameters
    ----------
    address_bits : int
        Width of an address.
    """

    def __init__(self, address_bits: int = LITE_ADDRESS_BITS) -> None:
        self._address_bits = address_bits
        super().__init__(
            {
                "awaddr": Out(address_bits),
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
                "araddr": Out(address_bits),
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
        return type(self) is type(other) and self._address_bits == other._address_bits

    def __repr__(self) -> str:
        size = self._address_bits
        return f"Axi4LiteSignature({'' if size == LITE_ADDRESS_BITS else f'address_bits={size}'})"
