"""Resets: a walk through a netlist that finds the registers that a reset leaves as they are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, cast

from amaranth.hdl import Fragment
from amaranth.hdl import _ir as ir  # type: ignore[attr-defined]  # the only way to the netlist
from amaranth.hdl import _nir as nir  # type: ignore[attr-defined]

__all__ = ["Register", "registers_without_reset"]


@dataclass(frozen=True)
class Register:
    """A register that has no reset.

    Parameters
    ----------
    name : str
        Its path below the component. Numbers are left out of it, so parts of one kind share one.
    bits : int
    declared : bool
        It is declared to have no reset.
    """

    name: str
    bits: int
    declared: bool


def registers_without_reset(component: Any) -> set[Register]:
    """Find the registers of a component that do not go to their initial value in a reset.

    A register is reset if the last assignment to it, under some condition, is of its initial value
    to all of its bits: that is how Amaranth and `ResetInserter` build a reset.
    """
    ports = [port for _, _, port in component.signature.flatten(component)]
    netlist = ir.build_netlist(Fragment.get(component, None), ports=ports)
    signals: dict[Any, list[Any]] = {}
    for signal, nets in netlist.signals.items():
        for net in nets:
            signals.setdefault(net, []).append(signal)
    found = set()
    cells: list[Any] = netlist.cells
    for number, cell in enumerate(cells):
        if not isinstance(cell, cast(Any, nir.FlipFlop)) or _is_reset(netlist, cell):
            continue
        named = signals.get(nir.Net.from_cell(number, 0), [])
        declared = [signal for signal in named if signal.reset_less]
        (signal, *_) = [*declared, *named]
        path = [*netlist.modules[cell.module_idx].name[1:], signal.name]
        name = re.sub(r"(?<=\w)\$\d+|_\d+\b|(?<=layer)\d", "", ".".join(path))
        found.add(Register(name, len(cell.data), bool(declared)))
    return found


def _is_reset(netlist: Any, register: Any) -> bool:
    first = register.data[0]
    if first.is_const or first.cell < 0:
        return False
    source: Any = netlist.cells[first.cell]
    if not isinstance(source, cast(Any, nir.AssignmentList)):
        return False
    last = source.assignments[-1]
    return (
        last.start == 0
        and len(last.value) == len(register.data)
        and all(net.is_const for net in last.value)
        and sum(net.const << bit for bit, net in enumerate(last.value)) == register.init
    )
