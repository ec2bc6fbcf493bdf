"""cocotb bench of the core beside its memory: the C driver runs programs on it.

The driver's window is a buffer of this process, which its hooks for caches copy to and from the
simulated memory. So a missing hook shows as a wrong result. Values: those of `tb.benches.core`.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import cocotb
import numpy as np

from compiler import program_file
from compiler.driver import Accelerator, CoreFault, Result
from compiler.program import Program
from hw.contract.counters import CORE_COUNTERS
from hw.contract.program_file import LEVELS, OUTPUT
from tb.benches.core import Bus, run_beside_memory, run_one
from tb.c_driver import Core, CoreTensor, build_driver
from tb.exchange.core_files import Run, write_outcome

_LOOKS = 1 << 20


class CAccelerator(Accelerator):
    """`compiler.driver.Accelerator`, but the C driver does the work.

    Runs with and without the interrupt, and images of both orders, take turns.
    """

    def __init__(self, bus: Bus, folder: Path) -> None:
        super().__init__(bus)
        self._driver = build_driver(folder, ["-fsanitize=undefined", "-fno-sanitize-recover=all"])
        self._file = folder / f"c_driver{program_file.SUFFIX}"
        self._turn = 0

    @property
    def polls(self) -> bool:
        """Say whether the last run was without the interrupt."""
        return self._turn % 2 == 0

    def run(self, program: Program, image: np.ndarray, *, point: str) -> Result:
        bus: Any = self._transport
        self._turn += 1
        window = np.zeros(bus.size, np.uint8)

        core = connected(bus, window, interrupts=not self.polls)
        program_file.save(program, self._file)
        content = self._file.read_bytes()
        opened = (ctypes.c_uint64 * 2)()
        driver = self._driver
        here = ctypes.byref(core)
        check_status(driver, driver.zapcore_probe(here))
        check_status(driver, driver.zapcore_open(opened, content, ctypes.c_size_t(len(content))))
        check_status(driver, driver.zapcore_load(here, opened))
        channels_last = self._turn % 4 > 1
        images = image.reshape(-1, *program.tensors[program.input].shape)
        assert driver.zapcore_images(opened) == len(images)
        for number, one in enumerate(images):
            pixels = pixels_of(program, one)
            text = (pixels.transpose(1, 2, 0) if channels_last else pixels).tobytes()
            check_status(
                driver, driver.zapcore_quantise(here, opened, number, text, int(channels_last))
            )
        number = driver.zapcore_point(opened, point.encode())
        status = driver.zapcore_run(here, opened, number, _LOOKS)
        if driver.zapcore_status_text(status) == b"the program was ended by a fault":
            fault = driver.zapcore_last_fault(here)
            layer = driver.zapcore_layer_name(opened, fault.layer).decode()
            text = driver.zapcore_fault_text(fault.code).decode()
            raise CoreFault(f"word {fault.word}, layer {layer}: {text}")
        check_status(driver, status)
        outputs = [
            output_levels(driver, here, opened, n).reshape(program.tensors[name].whole_shape)
            for n, name in enumerate(program.outputs)
        ]
        for number, logits in enumerate(
            outputs[0].reshape(len(images), -1, *outputs[0].shape[-2:])
        ):
            best = int(logits[:, 0, 0].argmax())
            assert driver.zapcore_class(here, opened, number) == best
        return Result(
            outputs[0],
            dict(zip(program.other_outputs, outputs[1:], strict=True)),
            {name: driver.zapcore_counter(here, n) for n, name in enumerate(CORE_COUNTERS)},
            self.counters(program, point),
        )


def connected(bus: Any, window: np.ndarray, *, interrupts: bool) -> Core:
    """A core as the C driver sees it: its registers, and a window that is not coherent."""

    def clean(_: int, first: int, size: int) -> None:
        offset = first - window.ctypes.data
        bus.write_memory(offset, window[offset : offset + size].tobytes())

    def invalidate(_: int, first: int, size: int) -> None:
        offset = first - window.ctypes.data
        window[offset : offset + size] = np.frombuffer(bus.read_memory(offset, size), np.uint8)

    core = Core(
        window=window.ctypes.data,
        base=bus.base,
        size=bus.size,
        interrupts=interrupts,
        clean=Core.CLEAN(clean),
        invalidate=Core.CLEAN(invalidate),
        read_register=Core.READ(lambda _, offset: bus.read_register(offset)),
        write_register=Core.WRITE(lambda _, offset, value: bus.write_register(offset, value)),
    )
    if interrupts:
        core.wait = Core.WAIT(lambda *_: bus.wait())
    return core


def output_levels(driver: Any, core: Any, opened: Any, number: int) -> np.ndarray:
    """An output's levels of all images, as the driver gives them."""
    tensor = CoreTensor()
    here = ctypes.byref(tensor)
    assert driver.zapcore_tensor_of(opened, OUTPUT, number, here)
    images = driver.zapcore_images(opened)
    shape = images, tensor.channels, tensor.height, tensor.width
    levels = [driver.zapcore_level(core, opened, here, *at) for at in np.ndindex(shape)]
    return np.array(levels, np.int32).reshape(shape)


def check_status(driver: Any, status: int) -> None:
    """Raise CoreFault with the driver's text unless all is well."""
    if status:
        raise CoreFault(driver.zapcore_status_text(status).decode())


def pixels_of(program: Program, image: np.ndarray) -> np.ndarray:
    """8-bit pixels that a quantised image may have come from, uint8 (channels, height, width)."""
    planes = []
    for channel, plane in enumerate(image):
        kind = np.int8 if program.tensors[program.input].signed else np.uint8
        levels = np.frombuffer(program.levels, kind)[channel * LEVELS :][:LEVELS].astype(np.int32)
        planes.append(np.abs(levels[:, None] - plane.reshape(1, -1)).argmin(0).reshape(plane.shape))
    pixels = np.stack(planes).astype(np.uint8)
    assert (program.quantise(pixels) == image).all(), "no 8-bit image is quantised to this one"
    return pixels


def run_all(bus: Bus, runs: list[Run], folder: Path) -> None:
    """Run every run by the C driver, and write its outcome into the folder."""
    accelerator = CAccelerator(bus, folder)
    for number, run in enumerate(runs):
        outcome = run_one(bus, accelerator, run)
        if accelerator.polls:
            # The bus notes the end where the driver waits for the interrupt.
            del outcome.observed["elapsed"]
        write_outcome(folder, number, outcome)


@cocotb.test()
async def run_programs(dut: Any) -> None:
    """Run every run, one after another."""
    await run_beside_memory(dut, run_all)
