"""Signatures of the bus ports: equal where they are the same, and named as AXI names them."""

from typing import Any

import pytest
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.core.axi import Axi4LiteSignature, Axi4ReadSignature, Axi4Signature, Axi4WriteSignature

SIZED = [Axi4ReadSignature, Axi4WriteSignature, Axi4Signature]


@pytest.mark.parametrize("signature", SIZED)
def test_signatures_of_the_same_width_are_equal(signature: type[Axi4Signature]) -> None:
    assert signature(data_bits=64) == signature(data_bits=64)
    assert signature(data_bits=64) != signature(data_bits=32)
    assert signature(data_bits=64).data_bits == 64
    assert repr(signature(data_bits=64)) == f"{signature.__name__}(data_bits=64)"


def test_signatures_of_different_kinds_are_not_equal() -> None:
    every = [Axi4LiteSignature(), *(signature(data_bits=32) for signature in SIZED)]
    for number, one in enumerate(every):
        assert [one == other for other in every] == [n == number for n in range(len(every))]
    assert repr(Axi4LiteSignature()) == "Axi4LiteSignature()"


@pytest.mark.parametrize(("bits", "size"), [(32, 2), (64, 3), (128, 4)])
def test_a_burst_is_of_whole_beats_and_incrementing(bits: int, size: int) -> None:
    port: Any = Axi4Signature(data_bits=bits).create()
    for channel, half in (("ar", port.read), ("aw", port.write)):
        assert getattr(half, f"{channel}size").init == size
        assert getattr(half, f"{channel}burst").init == 1
    assert len(port.write.wstrb) == bits // 8


def flows(signature: wiring.Signature) -> dict[str, Any]:
    """The direction of each port, by its name in the specification."""
    members: Any = signature.flatten(signature.create())
    return {path[-1]: member.flow for path, member, _ in members}


def test_a_manager_drives_requests_and_a_subordinate_answers() -> None:
    manager = flows(Axi4Signature(data_bits=32))
    assert [name for name, flow in manager.items() if flow == In] == [
        *("arready", "rid", "rdata", "rresp", "rlast", "rvalid"),
        *("awready", "wready", "bid", "bresp", "bvalid"),
    ]
    lite = wiring.Signature({"port": In(Axi4LiteSignature())})
    subordinate = flows(lite)
    assert [name for name, flow in subordinate.items() if flow == Out] == [
        *("awready", "wready", "bresp", "bvalid", "arready", "rdata", "rresp", "rvalid")
    ]
