"""Coverage points that Verilator has counted, and names for them that outlive a change elsewhere.

A point is a line of Verilog, or a bit that should toggle. The Verilog is emitted, so the numbers of
its lines mean nothing. A line is known by its module and its text, in which the signals that Yosys
has numbered have the names of the registers or outputs that they are assigned to.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["Coverage", "read_coverage"]

_RECORD = re.compile(r"C '(?P<fields>[^']*)' (?P<count>\d+)")
_MODULE = re.compile(r"module (\S+?) ?\(")
_TAKEN = re.compile(r"^\s*(?:assign )?(?P<name>\S+?) +<?= (?P<numbered>\\\$\d+) ?;")
_STATEMENT = re.compile(r"^\s*(?P<target>.+?) +<?= (?P<value>.+);$")
_NUMBERED = re.compile(r"\\\$\d+(?: (?=[;\[ ]))?")
_NUMBER_OF_NAME = re.compile(r"(\\?[A-Za-z_]\w*)\$\d+")


@dataclass
class Coverage:
    """The coverage of one core.

    Parameters
    ----------
    lines, toggles : {module: Counter}
        Counts of points that were reached (key True) and that never were (key False).
    missed : {text: None}
        Module and text of each line that was never reached, in the order of the Verilog.
    """

    lines: dict[str, Counter[bool]] = field(default_factory=dict)
    toggles: dict[str, Counter[bool]] = field(default_factory=dict)
    missed: dict[str, None] = field(default_factory=dict)


def read_coverage(verilog: str, records: Iterable[str]) -> Coverage:
    """Read the records of Verilator's `coverage.dat` for a core's Verilog."""
    text = verilog.splitlines()
    names = _names(text)
    coverage = Coverage()
    reached: dict[tuple[str, int], bool] = {}
    toggled: dict[tuple[str, str], bool] = {}
    for record in records:
        match = _RECORD.fullmatch(record.strip())
        if match is None:
            continue
        fields = dict(part.split("\x02", 1) for part in match["fields"].split("\x01") if part)
        kind, _, module = fields["page"].partition("/")
        if module in ("axi_memory", "core_in_memory"):
            continue
        count = int(match["count"]) > 0
        if kind == "v_toggle":
            key = module, fields["o"]
            toggled[key] = toggled.get(key, False) or count
            continue
        for number in _numbers(fields.get("S", "")):
            if _STATEMENT.match(text[number - 1]):
                line = module, number
                reached[line] = reached.get(line, False) or count
    for (module, _), count in toggled.items():
        coverage.toggles.setdefault(_short(module), Counter())[count] += 1
    for (module, number), count in sorted(reached.items(), key=lambda item: item[0][1]):
        coverage.lines.setdefault(_short(module), Counter())[count] += 1
        if not count:
            said = _said(text[number - 1], names[number - 1])
            coverage.missed[f"{_short(module)}: {said}"] = None
    return coverage


def _short(module: str) -> str:
    """The module's place in the hierarchy below the core."""
    return module.partition(".")[2] or "core"


def _numbers(ranges: str) -> list[int]:
    """The lines of Verilator's list of ranges, as `8-9,12`."""
    numbers: list[int] = []
    for part in filter(None, ranges.split(",")):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def _names(text: list[str]) -> list[dict[str, str]]:
    """For each line: numbered signal -> what it is assigned to, in the line's module."""
    names: list[dict[str, str]] = []
    current: dict[str, str] = {}
    for line in text:
        if _MODULE.match(line):
            current = {}
        if taken := _TAKEN.match(line):
            current[taken["numbered"]] = taken["name"]
        names.append(current)
    return names


def _said(line: str, names: dict[str, str]) -> str:
    def name(match: re.Match[str]) -> str:
        return names.get(match[0].strip(), "...")

    named = _NUMBERED.sub(name, line.strip().rstrip(";"))
    return " ".join(_NUMBER_OF_NAME.sub(r"\1", named).split())
