"""The core's registers: their one description, and the texts that are generated from it.

`hw.core.register_block` implements the registers of `REGISTERS`, and the driver uses them.
`c_header` and `markdown` turn them into text, and so does `hw.contract.systemrdl`. Every register
is 32 bits wide. A counter takes two registers, the lower half first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from hw.contract.bus import PAGE_BITS
from hw.contract.counters import CORE_COUNTERS
from hw.contract.program import HEADER_BYTES, VERSION

__all__ = [
    "EVENTS",
    "FAULTS",
    "ID",
    "REGISTERS",
    "Fault",
    "Field",
    "Register",
    "c_header",
    "markdown",
]

ID = 0x5A41_5043
"""Value of register `id`."""


class Fault(IntEnum):
    """Codes of register `error`."""

    NONE = 0
    HEADER = 1
    DESCRIPTOR = 2
    READ = 3
    WRITE = 4
    STALL = 5
    BOUNDS = 6
    WINDOW = 7


FAULTS = {
    Fault.NONE: "none",
    Fault.HEADER: "the header at `program` is not that of a program for this core",
    Fault.DESCRIPTOR: "a word of a tile's descriptor is outside its limits",
    Fault.READ: "the memory answered a read with an error",
    Fault.WRITE: "the memory answered a write with an error",
    Fault.STALL: "no data moved for long: words of a descriptor contradict each other, "
    "or the memory does not answer",
    Fault.BOUNDS: "a burst would have left the window; it was not issued",
    Fault.WINDOW: f"`base` or `size` is no multiple of {1 << PAGE_BITS}, `program` is no multiple "
    f"of {HEADER_BYTES}, or the window ends beyond the core's addresses",
}
"""Meaning of each fault."""


@dataclass(frozen=True)
class Field:
    """A named part of a register: `bits` bits, of which the lowest is number `bit`."""

    bit: int
    bits: int
    text: str
    is_fault: bool = False
    """Its values are those of `Fault`."""

    @property
    def mask(self) -> int:
        """A word with ones in the bits of the field."""
        return ((1 << self.bits) - 1) << self.bit

    def of(self, word: int) -> int:
        """The field's value in a register that holds `word`."""
        return (word & self.mask) >> self.bit

    @property
    def span(self) -> str:
        """The highest and lowest bit as documentation writes them, or the only bit."""
        return f"{self.bit + self.bits - 1}:{self.bit}" if self.bits > 1 else f"{self.bit}"


@dataclass(frozen=True)
class Register:
    """One register.

    Parameters
    ----------
    offset : int
        In bytes from the core's base address.
    access : "ro", "rw", "wo" or "w1c"
        Read only, read and write, write only, or cleared where ones are written.
    text : str
        What it is for.
    fields : {name: Field}
        Empty where the whole register is one value.
    constant : int or None
        The value of a register that never changes.
    """

    offset: int
    access: Literal["ro", "rw", "wo", "w1c"]
    text: str
    fields: dict[str, Field] = field(default_factory=dict)
    constant: int | None = None


_COUNTERS_OFFSET = 0x80
EVENTS = {
    "done": Field(0, 1, "a program ended"),
    "error": Field(1, 1, "a program was ended by a fault"),
    "aborted": Field(2, 1, "a program was ended by `abort`"),
}
"""The bits of both interrupt registers."""
REGISTERS: dict[str, Register] = {
    "id": Register(0x00, "ro", f"signature of the core, 0x{ID:08X}", constant=ID),
    "version": Register(
        0x04, "ro", f"version of the programs that the core runs, {VERSION}", constant=VERSION
    ),
    "control": Register(
        0x08,
        "wo",
        "commands to the core",
        {
            "start": Field(0, 1, "run the program; ignored while busy"),
            "abort": Field(1, 1, "end the program as soon as the memory has answered all bursts"),
        },
    ),
    "status": Register(
        0x0C, "ro", "state of the core", {"busy": Field(0, 1, "a program runs or is being ended")}
    ),
    "interrupt_enable": Register(0x10, "rw", "events that raise the interrupt", EVENTS),
    "interrupt_status": Register(
        0x14, "w1c", "events that have happened since they were cleared", EVENTS
    ),
    "error": Register(
        0x18,
        "ro",
        "the fault that ended the last program; 0 if none did",
        {
            "code": Field(
                0, 8, "; ".join(f"{code}: {text}" for code, text in FAULTS.items()), True
            ),
            "word": Field(8, 8, "for codes 1 and 2, the number of the first word at fault"),
            "layer": Field(16, 16, "the layer at fault"),
        },
    ),
    "program": Register(
        0x1C,
        "rw",
        f"offset of the program's headers into the window, a multiple of {HEADER_BYTES}",
    ),
    "point": Register(
        0x20, "rw", "operating point to run", {"number": Field(0, 8, "its number, from 0")}
    ),
    "layer": Register(
        0x24,
        "ro",
        "layer in work, or the last layer",
        {"number": Field(0, 16, "its number, from 0")},
    ),
    "base_low": Register(0x28, "rw", "bus address of the window, low half"),
    "base_high": Register(0x2C, "rw", "bus address of the window, high half"),
    "size": Register(
        0x30, "rw", "size of the window in bytes; the core reaches no memory outside the window"
    ),
    **{
        f"{name}_{half}": Register(
            _COUNTERS_OFFSET + 8 * number + 4 * part, "ro", f"{text}, {half} half"
        )
        for number, (name, text) in enumerate(CORE_COUNTERS.items())
        for part, half in enumerate(("low", "high"))
    },
}


def c_header() -> str:
    """Return the registers as a header for C99.

    It has the offset of each register, shift and mask of each field, the codes of faults with their
    texts, and the numbers and names of counters.
    """
    lines = [
        "/* Registers of the zapcore accelerator; generated by hw/contract/registers.py. */",
        "#ifndef ZAPCORE_REGISTERS_H",
        "#define ZAPCORE_REGISTERS_H",
    ]
    for name, register in REGISTERS.items():
        macro = f"ZAPCORE_{name.upper()}"
        lines += ["", f"/* {register.access}: {register.text} */"]
        lines.append(f"#define {macro} 0x{register.offset:03X}u")
        if register.constant is not None:
            lines.append(f"#define {macro}_VALUE 0x{register.constant:08X}u")
        for part, bits in register.fields.items():
            lines.append(f"#define {macro}_{part.upper()}_SHIFT {bits.bit}")
            lines.append(f"#define {macro}_{part.upper()}_MASK 0x{bits.mask:08X}u")
    lines += ["", f"#define ZAPCORE_PAGE_BYTES {1 << PAGE_BITS}u", ""]
    lines += [f"#define ZAPCORE_FAULT_{fault.name} {fault.value}u" for fault in Fault]
    lines += ["", "/* The text of each fault, by its code. */"]
    lines += _c_strings("ZAPCORE_FAULT_TEXTS", [FAULTS[fault] for fault in Fault])
    lines += [
        "",
        "/* Counter n is read at ZAPCORE_COUNTERS + 8 * n, its lower half first. */",
    ]
    lines.append(f"#define ZAPCORE_COUNTERS 0x{_COUNTERS_OFFSET:03X}u")
    for number, name in enumerate(CORE_COUNTERS):
        lines.append(f"#define ZAPCORE_COUNTER_{name.upper()} {number}u")
    lines += _c_strings("ZAPCORE_COUNTER_NAMES", list(CORE_COUNTERS))
    return "\n".join([*lines, "", "#endif", ""])


def _c_strings(macro: str, texts: list[str]) -> list[str]:
    """A macro that initialises an array of strings."""
    return [f"#define {macro} {{ \\", *(f'    "{text}", \\' for text in texts), "}"]


def markdown() -> str:
    """Return the registers as a table in Markdown."""
    lines = [
        "# Registers",
        "",
        "| offset | name | access | bits | meaning |",
        "|---|---|---|---|---|",
    ]
    for name, register in REGISTERS.items():
        lines.append(
            f"| 0x{register.offset:03X} | {name} | {register.access} | | {register.text} |"
        )
        for part, bits in register.fields.items():
            lines.append(f"| | {name}.{part} | | {bits.span} | {bits.text} |")
    return "\n".join([*lines, ""])
