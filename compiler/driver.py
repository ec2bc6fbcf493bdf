"""The host's driver: loads programs into memory, starts the core, and reads results.

    accelerator = Accelerator(transport)
    result = accelerator.run(program, image, point="default")

The driver is the same on every machine. A `Transport` is how it reaches the core on one of them.
"""

from __future__ import annotations

import mmap
import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from compiler.program import Program
from golden.errors import UserError
from hw.contract.bus import PAGE_BITS
from hw.contract.counters import CORE_COUNTERS, STORED_BYTES, TOTAL_BITS
from hw.contract.program import VERSION
from hw.contract.registers import FAULTS, ID, REGISTERS, Fault

__all__ = ["Accelerator", "Accelerators", "CoreFault", "MemoryMapped", "Result", "Transport"]


class CoreFault(RuntimeError):
    """The core ended a program early; the message says why and in which layer."""


class Transport(Protocol):
    """A host's access to a core and to the memory that the core may use, its window.

    Attributes
    ----------
    base : int
        The window's address as the core sees it on its bus: a multiple of 4096.
    size : int
        Bytes of the window, a multiple of 4096.
    """

    base: int
    size: int

    def read_register(self, offset: int) -> int: ...

    def write_register(self, offset: int, value: int) -> None: ...

    def read_memory(self, offset: int, size: int) -> bytes:
        """Read bytes of the window, as the core wrote them."""

    def write_memory(self, offset: int, data: bytes) -> None:
        """Write bytes of the window, so that the core reads them."""

    def wait(self) -> None:
        """Return when the core's interrupt is high, or earlier."""


@dataclass(frozen=True)
class Result:
    """The result of a run.

    Parameters
    ----------
    output : int32 (channels, height, width)
        The network's output; a classifier's class is the argmax. A program for several images gives
        (images, channels, height, width).
    other_outputs : {name: int32 like the output}
        What the network returns besides, in order.
    totals : {counter: count}
        `hw.contract.counters.CORE_COUNTERS` of the whole program, from the core's registers.
    layers : list of {counter: count}
        The same for each layer of the program, from memory; of all images together.
    """

    output: np.ndarray
    other_outputs: dict[str, np.ndarray]
    totals: dict[str, int]
    layers: list[dict[str, int]]


class Accelerator:
    """A core behind a transport.

    Raises UserError where there is no core, or one for programs of another version.

    Parameters
    ----------
    transport : Transport
    core : int
        Its number, where several run one program.
    looks : int
        A program that has not ended after so many waits of the transport is aborted. `MemoryMapped`
        waits a millisecond each time, so its programs have 100 seconds.
    """

    def __init__(self, transport: Transport, core: int = 0, *, looks: int = 100_000) -> None:
        self._transport = transport
        self._core = core
        self._looks = looks
        self._loaded: Program | None = None
        found = self.read("id")
        if found != ID:
            raise UserError(f"no zapcore here: register id reads {found:#010x}, not {ID:#010x}")
        if (version := self.read("version")) != VERSION:
            raise UserError(
                f"this core runs programs of version {version}; this driver has programs of "
                f"version {VERSION}"
            )

    def read(self, register: str) -> int:
        """The value of a register."""
        return self._transport.read_register(REGISTERS[register].offset)

    def write(self, register: str, value: int) -> None:
        """Set a register."""
        self._transport.write_register(REGISTERS[register].offset, value)

    def load(self, program: Program) -> None:
        """Write a program into memory. `run` does so unless it is the program loaded last.

        Raises UserError where the window is too small.
        """
        if program.end > self._transport.size:
            raise UserError(
                f"program {program.network!r} needs {program.end:,} bytes of memory; the window "
                f"has {self._transport.size:,}"
            )
        self._transport.write_memory(0, program.image)
        self._loaded = program

    def run(self, program: Program, image: np.ndarray, *, point: str) -> Result:
        """Run a network on one quantised image, int32 (channels, height, width).

        A program for several images takes all of them, int32 (images, channels, height, width).
        Raises CoreFault where the core ends the program early, UserError where the program has no
        operating point of that name, the window is too small, or the image is not quantised.
        """
        if point not in program.points:
            known = ", ".join(program.points)
            raise UserError(f"no operating point {point!r} in this program; it has: {known}")
        if self._loaded is not program:
            self.load(program)
        self.begin(program, image, point=point)
        return self.result(program, point=point)

    def begin(self, program: Program, image: np.ndarray, *, point: str) -> None:
        """Start a program that is in memory on one quantised image, as `run` does.

        Raises UserError where the image is not quantised, or the program is for fewer cores.
        """
        if self._core >= program.cores:
            raise UserError(
                f"program {program.network!r} is for {program.cores} cores, and this is core "
                f"{self._core}, counted from 0; compile with --cores {self._core + 1}"
            )
        place = program.tensors[program.input]
        self._transport.write_memory(place.address + self._offset(program), place.pack(image))
        self.start(program.points.index(point), program.headers(self._core))

    def result(self, program: Program, *, point: str) -> Result:
        """Wait for the end of what was started, and read its results.

        Raises CoreFault where the core ends the program early.
        """
        self.finish(program)
        return Result(
            self._tensor(program, program.output),
            {name: self._tensor(program, name) for name in program.other_outputs},
            {name: self._total(name) for name in CORE_COUNTERS},
            self.counters(program, point),
        )

    def _tensor(self, program: Program, name: str) -> np.ndarray:
        """A tensor's values, from memory."""
        place = program.tensors[name]
        address = place.address + self._offset(program)
        return place.unpack(self._transport.read_memory(address, place.size))

    def _offset(self, program: Program) -> int:
        """Bytes from the tensors of core 0 to those of this core."""
        return self._core * program.core_bytes

    def start(self, point: int, headers: int = 0) -> None:
        """Start an operating point of the program in memory. The interrupt is raised at its end.

        `headers` is the offset of the program's headers.
        """
        events = 0
        for field in REGISTERS["interrupt_status"].fields.values():
            events |= field.mask
        self.write("interrupt_status", events)
        self.write("interrupt_enable", events)
        self.write("base_low", self._transport.base & 0xFFFF_FFFF)
        self.write("base_high", self._transport.base >> 32)
        self.write("size", self._transport.size)
        self.write("program", headers)
        self.write("point", point)
        self.write("control", self.bit("control", "start"))

    def finish(self, program: Program | None = None) -> None:
        """Wait until the program that was started ends.

        Raises CoreFault where it ends early, or does not end in time and is aborted.
        """
        if not (status := self._events()):
            self.write("control", self.bit("control", "abort"))
            after = f"{self._looks:,} looks at the core"
            if not self._events():
                raise CoreFault(f"neither the program nor an abort ended in {after}; reset it")
            raise CoreFault(f"the program did not end in {after}, and was aborted")
        if status & self.bit("interrupt_status", "done"):
            return
        if status & self.bit("interrupt_status", "aborted"):
            raise CoreFault("aborted")
        error = self.read("error")
        fields = REGISTERS["error"].fields
        code, word, layer = (fields[name].of(error) for name in ("code", "word", "layer"))
        name = program.layers[layer].name if program and layer < len(program.layers) else layer
        fault = Fault(code)
        raise CoreFault(f"{fault.name.lower()} fault, word {word}, layer {name}: {FAULTS[fault]}")

    def _events(self) -> int:
        """The events of the program's end, once there are any; 0 if there are none in time."""
        for _ in range(self._looks):
            if status := self.read("interrupt_status"):
                return status
            self._transport.wait()
        return self.read("interrupt_status")

    @staticmethod
    def bit(register: str, name: str) -> int:
        """The mask of a field of one bit."""
        return REGISTERS[register].fields[name].mask

    def _total(self, counter: str) -> int:
        return self.read(f"{counter}_low") | self.read(f"{counter}_high") << 32

    def counters(self, program: Program, point: str) -> list[dict[str, int]]:
        """The counters of each layer: those of its tiles added up."""
        tiles = [layer.tiles[point] for layer in program.layers]
        address = program.counters + self._offset(program)
        data = self._transport.read_memory(address, sum(tiles) * STORED_BYTES)
        table = np.frombuffer(data, f"<u{TOTAL_BITS // 8}").reshape(sum(tiles), -1)
        sums = np.add.reduceat(table[:, : len(CORE_COUNTERS)], np.cumsum([0, *tiles[:-1]]))
        return [dict(zip(CORE_COUNTERS, row.tolist(), strict=True)) for row in sums]


class Accelerators:
    """Several cores on one memory: each runs images of its own, and the weights lie there once.

    Parameters
    ----------
    transports : sequence of Transport
        One for each core, in the order of their pages of registers. All have the same window.
    """

    def __init__(self, transports: Sequence[Transport]) -> None:
        windows = {(transport.base, transport.size) for transport in transports}
        if len(windows) != 1:
            raise UserError("the transports of several cores must have one window")
        self._cores = [Accelerator(transport, core) for core, transport in enumerate(transports)]
        self._loaded: Program | None = None

    def run(self, program: Program, images: Sequence[np.ndarray], *, point: str) -> list[Result]:
        """Run a network on quantised images, as many at a time as there are cores.

        Image n runs on core n modulo the number of cores. Raises as `Accelerator.run` does; the
        other cores' images have ended by then.
        """
        if point not in program.points:
            known = ", ".join(program.points)
            raise UserError(f"no operating point {point!r} in this program; it has: {known}")
        if self._loaded is not program:
            self._cores[0].load(program)
            self._loaded = program
        results: list[Result] = []
        faults: list[CoreFault] = []
        running: deque[Accelerator] = deque()

        def end_first() -> Accelerator:
            core = running.popleft()
            try:
                results.append(core.result(program, point=point))
            except CoreFault as fault:
                faults.append(fault)
            return core

        idle = deque(self._cores)
        try:
            for image in images:
                core = idle.popleft() if idle else end_first()
                if faults:
                    break
                core.begin(program, image, point=point)
                running.append(core)
        finally:
            while running:
                end_first()
        if faults:
            raise faults[0]
        return results


class MemoryMapped:
    """A transport through the host's physical address space: `/dev/mem`, UIO, or a DMA buffer.

    The files are opened with O_SYNC, so that `/dev/mem` and `u-dma-buf` map them uncached. Memory
    that stays cached needs a transport whose methods flush and invalidate.

    Parameters
    ----------
    registers : (file, offset)
        Where the page of registers is mapped from. The page of core n lies n pages behind that of
        the first.
    memory : (file, offset, size)
        Where the window's memory is mapped from. A size that is not of whole pages is rounded down.
    base : int or None
        The window's address on the core's bus: for `u-dma-buf` the content of its `phys_addr`. None
        if it is the offset in the file, as in `/dev/mem`.
    poll : float
        Seconds between two looks at the interrupt's status.
    """

    def __init__(
        self,
        registers: tuple[Path, int],
        memory: tuple[Path, int, int],
        *,
        base: int | None = None,
        poll: float = 0.001,
    ) -> None:
        file, offset, size = memory
        self.base = offset if base is None else base
        self.size = size >> PAGE_BITS << PAGE_BITS
        if self.base % (1 << PAGE_BITS) or self.base < 0:
            raise UserError(
                f"{file}: bus address {self.base:#x} is no multiple of {1 << PAGE_BITS}"
            )
        self._registers = memoryview(_map(*registers, mmap.PAGESIZE)).cast("I")
        self._memory = _map(file, offset, self.size)
        self._poll = poll

    def read_register(self, offset: int) -> int:
        return self._registers[offset // 4]

    def write_register(self, offset: int, value: int) -> None:
        self._registers[offset // 4] = value

    def read_memory(self, offset: int, size: int) -> bytes:
        return self._memory[offset : offset + size]

    def write_memory(self, offset: int, data: bytes) -> None:
        self._memory[offset : offset + len(data)] = data

    def wait(self) -> None:
        time.sleep(self._poll)


def _map(file: Path, offset: int, size: int) -> mmap.mmap:
    try:
        device = os.open(file, os.O_RDWR | os.O_SYNC)
        try:
            return mmap.mmap(device, size, offset=offset)
        finally:
            os.close(device)
    except OSError as error:
        raise UserError(f"{file}: cannot be mapped: {error.strerror}") from None
