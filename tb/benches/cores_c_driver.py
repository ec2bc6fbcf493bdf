"""cocotb bench of several cores on one memory port: the C driver runs images on all at once.

Values: those of `tb.benches.cores`. All cores share one window, a buffer of this process, as in
`tb.benches.core_c_driver`.
"""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cocotb
import numpy as np

from compiler import program_file
from compiler.driver import Accelerator, Result
from compiler.program import Program
from hw.contract.counters import CORE_COUNTERS
from tb.benches.core_c_driver import check_status, connected, output_levels, pixels_of
from tb.benches.cores import BusOfOne, run_beside_memory
from tb.c_driver import Core, build_driver

_LOOKS = 1 << 20


class CAccelerators:
    """`compiler.driver.Accelerators`, but the C driver does the work."""

    def __init__(self, buses: list[BusOfOne]) -> None:
        self._buses = buses
        self._folder = tempfile.TemporaryDirectory(prefix="zapcore-c-")
        sanitizers = ["-fsanitize=undefined", "-fno-sanitize-recover=all"]
        self._driver = build_driver(Path(self._folder.name), sanitizers)

    def run(self, program: Program, images: Sequence[np.ndarray], *, point: str) -> list[Result]:
        """Run images, one on each core."""
        driver, buses = self._driver, self._buses
        window = np.zeros(buses[0].size, np.uint8)
        every = [connected(bus, window, interrupts=True) for bus in buses]
        for number, core in enumerate(every):
            core.number = number
        cores = (Core * len(every))(*every)
        file = Path(self._folder.name) / f"program{program_file.SUFFIX}"
        program_file.save(program, file)
        content = file.read_bytes()
        opened = (ctypes.c_uint64 * 2)()
        check_status(driver, driver.zapcore_open(opened, content, ctypes.c_size_t(len(content))))
        assert driver.zapcore_cores(opened) == len(every)
        check_status(driver, driver.zapcore_load(ctypes.byref(cores[0]), opened))
        for core, image in zip(cores, images, strict=True):
            here = ctypes.byref(core)
            check_status(driver, driver.zapcore_probe(here))
            pixels = pixels_of(program, image).tobytes()
            check_status(driver, driver.zapcore_quantise(here, opened, 0, pixels, 0))
        number = driver.zapcore_point(opened, point.encode())
        check_status(driver, driver.zapcore_run_all(cores, len(every), opened, number, _LOOKS))
        beyond = connected(buses[0], window, interrupts=True)
        beyond.number = len(every)
        status = driver.zapcore_start(ctypes.byref(beyond), opened, number)
        assert driver.zapcore_status_text(status) == b"the program is for fewer cores"
        return [self._result(program, opened, point, n, core) for n, core in enumerate(cores)]

    def _result(self, program: Program, opened: Any, point: str, number: int, core: Core) -> Result:
        here = ctypes.byref(core)
        outputs = [
            output_levels(self._driver, here, opened, n).reshape(program.tensors[name].whole_shape)
            for n, name in enumerate(program.outputs)
        ]
        return Result(
            outputs[0],
            dict(zip(program.other_outputs, outputs[1:], strict=True)),
            {name: self._driver.zapcore_counter(here, n) for n, name in enumerate(CORE_COUNTERS)},
            Accelerator(self._buses[number], number).counters(program, point),
        )


@cocotb.test()
async def run_programs(dut: Any) -> None:
    """Run every group, one after another."""
    await run_beside_memory(dut, CAccelerators)
