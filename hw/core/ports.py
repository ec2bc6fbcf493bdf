"""Ports of components: their names in Verilog, and connections between a part and its owner."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from amaranth.hdl import Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hw.core.axi import Axi4LiteSignature, Axi4Signature

__all__ = ["connect_gated", "named_ports"]


def named_ports(component: Any) -> Iterator[tuple[str, wiring.Flow, Value]]:
    """Name, direction and signal of each port of a component, or of an interface like one.

    A port of an AXI bus is named as that is everywhere: `m_axi_araddr`. Names of other nested ports
    are joined by two underscores, as Amaranth does.
    """
    for path, member, value in component.signature.flatten(component):
        first, *rest = map(str, path)
        if _is_axi(component.signature.members[first]):
            name = f"{first}_{rest[-1]}"
        else:
            name = "__".join([first, *rest])
        yield name, member.flow, Value.cast(value)


def _is_axi(member: wiring.Member) -> bool:
    return member.is_signature and isinstance(member.signature, Axi4Signature | Axi4LiteSignature)


def connect_gated(m: Module, inner: Any, outer: Any, gate: Value) -> None:
    """Connect a part's port to the same port of its owner; `valid` and `ready` leave by a gate."""
    ports = zip(inner.signature.flatten(inner), outer.signature.flatten(outer), strict=True)
    for (path, member, inside), (_, _, outside) in ports:
        if member.flow == In:
            m.d.comb += inside.eq(outside)
        elif str(path[-1]).endswith(("valid", "ready")):
            m.d.comb += outside.eq(inside & gate)
        else:
            m.d.comb += outside.eq(inside)
