"""Signatures of the bus ports: equal where they are the same, and named as AXI names them."""

from dataclasses import replace
from typing import Any

import pytest
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.core.axi import Axi4LiteSignature, Axi4ReadSignature, Axi4Signature, Axi4WriteSignature
from tests.hw.small_configs import TINY

WIDE = replace(TINY, lanes=16, group=16, bus_bits=64)
SIZED = [Axi4ReadSignature, Axi4WriteSignature, Axi4Signature]


@pytest.mark.parametrize("signature", SIZED)
def test_signatures_of_the_same_width_are_equal(signature: type[Axi4Signature]) -> None:
    assert signature(WIDE) == signature(replace(WIDE, name="other"))
    for sizes in ({"bus_bits": 32}, {"address_bits": 40}, {"axi_prot": 0}, {"axi_cache": 0}):
        assert signature(WIDE) != signature(replace(WIDE, **sizes))  # type: ignore[arg-type]
    assert signature(WIDE).data_bits == 64
    said = "data_bits=64, address_bits=32, prot=2, cache=3"
    assert repr(signature(WIDE)) == f"{signature.__name__}({said})"


def test_signatures_of_different_kinds_are_not_equal() -> None:
    every = [Axi4LiteSignature(), *(signature(TINY) for signature in SIZED)]
    for number, one in enumerate(every):
        assert [one == other for other in every] == [n == number for n in range(len(every))]
    assert repr(Axi4LiteSignature()) == "Axi4LiteSignature()"


@pytest.mark.parametrize(("bits", "size"), [(32, 2), (64, 3), (128, 4)])
def test_a_burst_is_of_whole_beats_and_incrementing(bits: int, size: int) -> None:
    config = replace(WIDE, bus_bits=bits, axi_prot=0b001, axi_cache=0b1111)
    port: Any = Axi4Signature(config).create()
    for channel, half in (("ar", port.read), ("aw", port.write)):
        assert getattr(half, f"{channel}size").init == size
        assert getattr(half, f"{channel}burst").init == 1
        assert getattr(half, f"{channel}prot").init == 0b001
        assert getattr(half, f"{channel}cache").init == 0b1111
    assert len(port.write.wstrb) == bits // 8


def flows(signature: wiring.Signature) -> dict[str, Any]:
    """The direction of each port, by its name in the specification."""
    members: Any = signature.flatten(signature.create())
    return {path[-1]: member.flow for path, member, _ in members}


def test_a_manager_drives_requests_and_a_subordinate_answers() -> None:
    manager = flows(Axi4Signature(TINY))
    assert [name for name, flow in manager.items() if flow == In] == [
        *("arready", "rid", "rdata", "rresp", "rlast", "rvalid"),
        *("awready", "wready", "bid", "bresp", "bvalid"),
    ]
    lite = wiring.Signature({"port": In(Axi4LiteSignature())})
    subordinate = flows(lite)
    assert [name for name, flow in subordinate.items() if flow == Out] == [
        *("awready", "wready", "bresp", "bvalid", "arready", "rdata", "rresp", "rvalid")
    ]
