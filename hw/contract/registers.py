"""The core's registers: their one description, their hardware, and what is generated from them.

`REGISTERS` is what the core answers to, what the driver uses, and what `c_header` and `markdown`
turn into text. Every register is 32 bits wide; a counter is two of them, the lower first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from amaranth import Cat, Module, Signal
from amaranth.hdl import unsigned
from amaranth.lib import wiring
from amaranth.lib.enum import IntEnum
from amaranth.lib.wiring import In, Out

from hw.contract.bus import ADDRESS_BITS
from hw.contract.program import VERSION
from hw.core.axi import lite_ports
from hw.layouts.descriptor import COUNTERS

__all__ = [
    "CORE_COUNTERS",
    "FAULTS",
    "ID",
    "REGISTERS",
    "TOTAL_BITS",
    "Fault",
    "Register",
    "RegisterBlock",
    "c_header",
    "markdown",
]

ID = 0x5A41_5043
"""What register ID reads as."""

CORE_COUNTERS = {
    **COUNTERS,
    "elapsed": "cycles since the tile before was done, or since the program's start",
    "beats_read": "beats read from memory in these cycles, some of them for the next tile",
    "beats_written": "beats written to memory in these cycles",
}
"""What the core counts of a tile: as the engine does, and the cycles and traffic up to its end."""
TOTAL_BITS = 64
"""Width of a counter, in registers and in memory."""


class Fault(IntEnum, shape=8):
    """What register ERROR says."""

    NONE = 0
    HEADER = 1
    DESCRIPTOR = 2
    READ = 3
    WRITE = 4
    STALL = 5


FAULTS = {
    Fault.NONE: "none",
    Fault.HEADER: "the header at PROGRAM is not one of a program for this core",
    Fault.DESCRIPTOR: "a word of a tile's descriptor is outside its limits",
    Fault.READ: "the memory answered a read with an error",
    Fault.WRITE: "the memory answered a write with an error",
    Fault.STALL: "no data moved for long: words of a descriptor contradict each other, "
    "or the memory does not answer",
}
"""What each of them means."""


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
    fields : {name: (lowest bit, bits, text)}
    """

    offset: int
    access: str
    text: str
    fields: dict[str, tuple[int, int, str]] = field(default_factory=dict)


COUNTERS_OFFSET = 0x80
_EVENTS = {
    "done": (0, 1, "a program ended"),
    "error": (1, 1, "a program was ended by a fault"),
    "aborted": (2, 1, "a program was ended by `abort`"),
}
REGISTERS: dict[str, Register] = {
    "id": Register(0x00, "ro", f"0x{ID:08X}, the core's signature"),
    "version": Register(0x04, "ro", f"version of programs it runs, {VERSION}"),
    "control": Register(
        0x08,
        "wo",
        "what to do",
        {
            "start": (0, 1, "run the program; ignored while busy"),
            "abort": (1, 1, "end the program as soon as the memory has answered"),
        },
    ),
    "status": Register(
        0x0C, "ro", "what it does", {"busy": (0, 1, "a program is running or being ended")}
    ),
    "interrupt_enable": Register(0x10, "rw", "events that raise the interrupt", _EVENTS),
    "interrupt_status": Register(0x14, "w1c", "events since they were cleared", _EVENTS),
    "error": Register(
        0x18,
        "ro",
        "the fault that ended the last program",
        {
            "code": (0, 8, "; ".join(f"{code}: {text}" for code, text in FAULTS.items())),
            "word": (8, 8, "for codes 1 and 2, the number of the first word at fault"),
            "layer": (16, 16, "layer in work, or the last one"),
        },
    ),
    "program": Register(0x1C, "rw", "address of the program in memory"),
    "point": Register(0x20, "rw", "number of the operating point", {"number": (0, 8, "")}),
    "layer": Register(0x24, "ro", "layer in work, or the last one", {"number": (0, 16, "")}),
    **{
        f"{name}_{half}": Register(
            COUNTERS_OFFSET + 8 * number + 4 * part, "ro", f"{text}, {half} half"
        )
        for number, (name, text) in enumerate(CORE_COUNTERS.items())
        for part, half in enumerate(("low", "high"))
    },
}


class RegisterBlock(wiring.Component):
    """The AXI4-Lite side; takes a write every other cycle, and a read likewise.

    Members
    -------
    s_axil_... : see `hw.core.axi`
    irq : Out(1)
        High while an enabled event is in `interrupt_status`.
    start, abort : Out(1)
        For one cycle each.
    program, point : Out
    busy, layer, error_code, error_word : In
        What can be read.
    done, error, aborted : In(1)
        The events, for one cycle each.
    counter : Out
        Number of the counter that is read.
    total : In(TOTAL_BITS)
        That counter, in the same cycle.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                **lite_ports(),
                "irq": Out(1),
                "start": Out(1),
                "abort": Out(1),
                "program": Out(ADDRESS_BITS),
                "point": Out(8),
                "busy": In(1),
                "layer": In(16),
                "error_code": In(Fault),
                "error_word": In(8),
                "done": In(1),
                "error": In(1),
                "aborted": In(1),
                "counter": Out(range(len(CORE_COUNTERS))),
                "total": In(unsigned(TOTAL_BITS)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        enable, status = Signal(len(_EVENTS)), Signal(len(_EVENTS))
        m.d.comb += self.irq.eq((enable & status).any())

        # Writes: address and data are taken together.
        write = Signal()
        m.d.comb += [
            write.eq(self.s_axil_awvalid & self.s_axil_wvalid & ~self.s_axil_bvalid),
            self.s_axil_awready.eq(write),
            self.s_axil_wready.eq(write),
        ]
        m.d.sync += self.s_axil_bvalid.eq(write | (self.s_axil_bvalid & ~self.s_axil_bready))

        def written(name: str):
            """Whether all of a register is being written; parts of one are not taken."""
            here = self.s_axil_awaddr[2:] == REGISTERS[name].offset >> 2
            return write & here & self.s_axil_wstrb.all()

        value = self.s_axil_wdata
        m.d.comb += [
            self.start.eq(written("control") & value[0]),
            self.abort.eq(written("control") & value[1]),
        ]
        for name, target in (
            ("interrupt_enable", enable),
            ("program", self.program),
            ("point", self.point),
        ):
            with m.If(written(name)):
                m.d.sync += target.eq(value)
        cleared = written("interrupt_status").replicate(len(_EVENTS)) & value
        events = Cat(self.done, self.error, self.aborted)
        m.d.sync += status.eq((status & ~cleared) | events)

        # Reads.
        readable = {
            "id": ID,
            "version": VERSION,
            "status": self.busy,
            "interrupt_enable": enable,
            "interrupt_status": status,
            "error": Cat(self.error_code, self.error_word, self.layer),
            "program": self.program,
            "point": self.point,
            "layer": self.layer,
        }
        offset = self.s_axil_araddr
        word = Signal(32)
        m.d.comb += self.counter.eq(offset[3:7])
        with m.Switch(offset[2:]):
            for name, source in readable.items():
                with m.Case(REGISTERS[name].offset >> 2):
                    m.d.comb += word.eq(source)
            for name in CORE_COUNTERS:
                for part, half in enumerate(("low", "high")):
                    with m.Case(REGISTERS[f"{name}_{half}"].offset >> 2):
                        m.d.comb += word.eq(self.total.word_select(part, 32))
        read = Signal()
        m.d.comb += [
            read.eq(self.s_axil_arvalid & ~self.s_axil_rvalid),
            self.s_axil_arready.eq(read),
        ]
        m.d.sync += self.s_axil_rvalid.eq(read | (self.s_axil_rvalid & ~self.s_axil_rready))
        with m.If(read):
            m.d.sync += self.s_axil_rdata.eq(word)
        return m


def c_header() -> str:
    """The registers for a C program."""
    lines = [
        "/* Registers of the zapcore accelerator; generated by hw/contract/registers.py. */",
        "#ifndef ZAPCORE_H",
        "#define ZAPCORE_H",
        "",
        f"#define ZAPCORE_ID_VALUE 0x{ID:08X}u",
        f"#define ZAPCORE_VERSION_VALUE {VERSION}u",
    ]
    for name, register in REGISTERS.items():
        macro = f"ZAPCORE_{name.upper()}"
        lines += ["", f"/* {register.access}: {register.text} */"]
        lines.append(f"#define {macro} 0x{register.offset:03X}u")
        for part, (bit, bits, _) in register.fields.items():
            mask = ((1 << bits) - 1) << bit
            lines.append(f"#define {macro}_{part.upper()}_SHIFT {bit}")
            lines.append(f"#define {macro}_{part.upper()}_MASK 0x{mask:08X}u")
    lines.append("")
    lines += [f"#define ZAPCORE_FAULT_{fault.name} {fault.value}u" for fault in Fault]
    return "\n".join([*lines, "", "#endif", ""])


def markdown() -> str:
    """The registers as documentation."""
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
        for part, (bit, bits, text) in register.fields.items():
            span = f"{bit + bits - 1}:{bit}" if bits > 1 else f"{bit}"
            lines.append(f"| | {name}.{part} | | {span} | {text} |")
    return "\n".join([*lines, ""])
