"""Cores that are not there, of another version, or that hang: one error each, in C and Python.

The registers are a model, because no simulated core hangs.
"""

from __future__ import annotations

import ctypes
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler import program_file
from compiler.build import compile_bundle
from compiler.driver import Accelerator, CoreFault
from compiler.program import Program
from golden.errors import UserError
from hw.contract.program import VERSION
from hw.contract.registers import ID, REGISTERS
from tb.c_driver import Core, build_driver
from tb.random.networks import random_network
from tests.hw.small_configs import STRIPS, TINY

BASE, SIZE = 0x8000_0000, 1 << 20
LOOKS = 5


class Registers:
    """Registers of a core that ends a program after some looks, or never.

    It is a transport of the Python driver, with memory that nothing reads.

    Parameters
    ----------
    ends : int or None
        Looks after a start until the event `done`.
    aborts : bool
        Whether an abort ends the program.
    """

    base, size = BASE, SIZE

    def __init__(
        self, *, core: int = ID, version: int = VERSION, ends: int | None = 2, aborts: bool = True
    ) -> None:
        self.values = {"id": core, "version": version}
        self.ends, self.aborts = ends, aborts
        self.left: int | None = None
        self.memory = bytearray(SIZE)
        self.busy = False

    def read_register(self, offset: int) -> int:
        (name,) = (name for name, register in REGISTERS.items() if register.offset == offset)
        if name == "status":
            return REGISTERS["status"].fields["busy"].mask * self.busy
        return self.values.get(name, 0)

    def write_register(self, offset: int, value: int) -> None:
        (name,) = (name for name, register in REGISTERS.items() if register.offset == offset)
        if name == "control":
            fields = REGISTERS["control"].fields
            if value & fields["start"].mask:
                self.busy, self.left = True, self.ends
            if value & fields["abort"].mask and self.busy and self.aborts:
                self.end("aborted")
        elif name == "interrupt_status":
            self.values[name] = self.values.get(name, 0) & ~value
        else:
            self.values[name] = value

    def end(self, event: str) -> None:
        self.busy = False
        field = REGISTERS["interrupt_status"].fields[event]
        self.values["interrupt_status"] = self.values.get("interrupt_status", 0) | field.mask

    def read_memory(self, offset: int, size: int) -> bytes:
        return bytes(self.memory[offset : offset + size])

    def write_memory(self, offset: int, data: bytes) -> None:
        self.memory[offset : offset + len(data)] = data

    def wait(self) -> None:
        if self.left is not None and self.busy:
            self.left -= 1
            if self.left <= 0:
                self.end("done")


@pytest.fixture(scope="module")
def program() -> Program:
    return compile_bundle(random_network(STRIPS, random.Random(5)), TINY)


class InC:
    """The C driver on such registers."""

    def __init__(self, driver: Any, program: Program, folder: Path) -> None:
        file = folder / "a.zap"
        program_file.save(program, file)
        self.driver, self.content = driver, file.read_bytes()
        self.opened = ctypes.create_string_buffer(256)
        assert driver.zapcore_open(self.opened, self.content, len(self.content)) == 0

    def says(self, registers: Registers, size: int = SIZE, point: int = 0) -> str:
        """Probe, load and run, and return the first status that is not OK, as text."""
        window = ctypes.create_string_buffer(SIZE)
        core = Core(
            window=ctypes.cast(window, ctypes.c_void_p),
            base=BASE,
            size=size,
            read_register=Core.READ(lambda _, offset: registers.read_register(offset)),
            write_register=Core.WRITE(lambda _, at, value: registers.write_register(at, value)),
            wait=Core.WAIT(lambda *_: registers.wait()),
        )
        status = self.driver.zapcore_probe(ctypes.byref(core))
        if not status:
            status = self.driver.zapcore_load(ctypes.byref(core), self.opened)
        if not status:
            run = self.driver.zapcore_run
            status = run(ctypes.byref(core), self.opened, point, ctypes.c_uint32(LOOKS))
        return self.driver.zapcore_status_text(status).decode()


@pytest.fixture(scope="module")
def in_c(program: Program, tmp_path_factory: pytest.TempPathFactory) -> InC:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("c")
    return InC(build_driver(folder), program, folder)


def in_python(registers: Registers, program: Program, point: str = "dense") -> None:
    place = program.tensors[program.input]
    Accelerator(registers, looks=LOOKS).run(program, np.zeros(place.shape, int), point=point)


@pytest.mark.parametrize("found", [0, 0xFFFF_FFFF, ID ^ 1])
def test_no_core(found: int, in_c: InC, program: Program) -> None:
    registers = Registers(core=found)
    assert in_c.says(registers) == "there is no zapcore at these registers"
    with pytest.raises(UserError, match=f"no zapcore here: register id reads {found:#010x}"):
        in_python(registers, program)
    assert not registers.busy


@pytest.mark.parametrize("version", [VERSION - 1, VERSION + 1])
def test_a_core_of_another_version(version: int, in_c: InC, program: Program) -> None:
    registers = Registers(version=version)
    assert in_c.says(registers) == "the core runs programs of another version than this driver"
    with pytest.raises(UserError, match=f"this core runs programs of version {version}; this"):
        in_python(registers, program)


def test_a_core_that_hangs_is_aborted_and_runs_the_next_program(
    in_c: InC, program: Program
) -> None:
    registers = Registers(ends=None)
    assert in_c.says(registers) == "the program did not end in time and was aborted"
    assert not registers.busy
    registers.ends = 2
    assert in_c.says(registers) == "done"
    registers.ends = None
    with pytest.raises(CoreFault, match="did not end in 5 looks at the core, and was aborted"):
        in_python(registers, program)
    assert not registers.busy
    registers.ends = 2
    in_python(registers, program)


def test_a_core_that_cannot_even_be_aborted(in_c: InC, program: Program) -> None:
    registers = Registers(ends=None, aborts=False)
    assert in_c.says(registers) == "the program did not end in time and was aborted"
    assert in_c.says(registers) == "a program still runs"
    with pytest.raises(CoreFault, match=r"neither the program nor an abort ended .* reset it"):
        in_python(Registers(ends=None, aborts=False), program)


def test_a_window_or_a_point_that_does_not_suit(in_c: InC, program: Program) -> None:
    registers = Registers()
    wrong = "the window's address or size is no multiple of 4096, or 0"
    assert in_c.says(registers, size=SIZE - 1) == wrong
    assert in_c.says(registers, size=0) == wrong
    assert in_c.says(registers, size=4096) == "the program needs a larger window"
    missing = "the program has no such operating point"
    assert in_c.says(registers, point=len(program.points)) == missing
    assert in_c.says(registers, point=-1) == missing
    registers.size = 4096
    with pytest.raises(UserError, match="bytes of memory; the window has 4,096"):
        in_python(registers, program)
    with pytest.raises(UserError, match="no operating point 'night' in this program"):
        in_python(Registers(), program, point="night")
