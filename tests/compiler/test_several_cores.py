"""Programs for several cores: one copy of the weights, and scratch memory that no two share."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from compiler import program_file
from compiler.build import compile_bundle
from compiler.driver import Accelerators, MemoryMapped
from compiler.program import Program
from compiler.several_cores import expectation, for_cores, forecast
from golden.errors import UserError
from hw.contract.bus import PAGE_BITS
from hw.contract.program import DESCRIPTOR_BYTES, HEADER_BYTES
from hw.contract.registers import ID, REGISTERS
from hw.contract.system import System
from tb.random.networks import random_network
from tests.hw.small_configs import STRIPS, TINY

SCRATCH = ("ifm_address", "residual_address", "ofm_address", "halo_address", "counters")


@pytest.fixture(scope="module")
def programs() -> list[Program]:
    rng = random.Random(8)
    return [compile_bundle(random_network(STRIPS, rng), STRIPS) for _ in range(4)]


@pytest.mark.parametrize("cores", [2, 5])
def test_cores_share_tables_and_nothing_that_is_written(
    programs: list[Program], cores: int
) -> None:
    for program in programs:
        several = for_cores(program, cores)
        first = len(several.image)
        assert several.core_bytes >= program.end - len(program.image)
        assert several.end == first + cores * several.core_bytes
        for point in program.points:
            for core in range(cores):
                begin = first + core * several.core_bytes
                tiles = several.descriptors(point, core)
                for single, tile in zip(program.descriptors(point), tiles, strict=True):
                    for name, value in tile.items():
                        if name in ("parameters", "weights"):
                            size = min(len(program.image) - single[name], 64)
                            table = several.image[value : value + size]
                            assert table == program.image[single[name] :][:size]
                        elif name in SCRATCH and single[name]:
                            assert begin <= value < begin + several.core_bytes
                            assert value - begin == single[name] - len(program.image)
                        else:
                            assert value == single[name]


def test_a_core_more_costs_its_descriptors_and_its_scratch_memory(
    programs: list[Program],
) -> None:
    for program in programs:
        tiles = sum(len(program.descriptors(point)) for point in program.points)
        front = len(program.points) * HEADER_BYTES + tiles * DESCRIPTOR_BYTES
        grown = len(for_cores(program, 3).image) - len(program.image)
        assert 0 <= grown - 2 * front < 256


def test_a_program_for_several_cores_reads_back_from_its_file(
    programs: list[Program], tmp_path: Path
) -> None:
    several = for_cores(programs[0], 3)
    program_file.save(several, tmp_path / "a.zap")
    assert program_file.load(tmp_path / "a.zap") == several


def test_a_program_that_needs_more_than_a_window_is_refused(programs: list[Program]) -> None:
    huge = replace(programs[0], end=3 << 30)
    with pytest.raises(UserError, match=r"bytes of memory for 2 cores; a window has less than"):
        for_cores(huge, 2)


def test_the_port_is_the_limit_where_all_cores_ask_for_more_than_it_moves(
    programs: list[Program],
) -> None:
    for program in programs:
        speed_ups = []
        for bits in (1024, 64, 32):
            layers = forecast(program, System(config=STRIPS, cores=4, memory_bits=bits))
            alone = sum(layer.alone for layer in layers)
            speed_ups.append(4 * alone / sum(layer.together for layer in layers))
        assert 4 >= speed_ups[0] >= speed_ups[1] >= speed_ups[2]
        assert speed_ups[0] > 3.8


def test_what_limits_several_cores_is_said_by_the_name_of_the_layer(
    programs: list[Program],
) -> None:
    program = programs[0]
    wide, narrow = (
        expectation(program, System(config=STRIPS, cores=16, memory_bits=bits))
        for bits in (1024, 32)
    )
    assert wide.startswith("16 cores on a port of 1024 bits: ")
    assert narrow.startswith("16 cores on a port of 32 bits: ")
    assert "the memory is the limit in " in narrow
    named = narrow.partition(" is the limit in ")[2].split(", ")
    assert set(named) <= {layer.name for layer in program.layers}


@pytest.mark.parametrize(
    ("cores", "bits", "message"),
    [
        (1, 64, "1 cores on one port: must be in 2..16"),
        (17, 64, "17 cores on one port: must be in 2..16"),
        (2, 16, "a memory port of 16 bits: must be a power of two in 32..1024"),
        (2, 96, "a memory port of 96 bits: must be a power of two in 32..1024"),
        (2, 2048, "a memory port of 2048 bits: must be a power of two in 32..1024"),
    ],
)
def test_systems_that_cannot_be_are_refused(cores: int, bits: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        System(config=TINY, cores=cores, memory_bits=bits)


def test_a_port_is_as_wide_as_all_cores_together_unless_that_is_too_wide() -> None:
    widths = [System(config=TINY, cores=cores).memory_bits for cores in (2, 3, 4, 16)]
    assert widths == [64, 128, 128, 512]


def test_cores_are_refused_that_have_other_windows_or_are_too_many(
    programs: list[Program], tmp_path: Path
) -> None:
    registers, memory = tmp_path / "registers", tmp_path / "memory"
    words = [0] * (1 << PAGE_BITS - 2)
    for name in ("id", "version"):
        constant = REGISTERS[name].constant
        assert constant is not None
        words[REGISTERS[name].offset // 4] = constant
    assert words[0] == ID
    page = b"".join(word.to_bytes(4, "little") for word in words)
    registers.write_bytes(2 * page)
    memory.write_bytes(bytes(1 << 20))

    def transport(core: int, base: int) -> MemoryMapped:
        return MemoryMapped(
            (registers, core << PAGE_BITS), (memory, 0, 1 << 20), base=base << PAGE_BITS
        )

    with pytest.raises(UserError, match="the transports of several cores must have one window"):
        Accelerators([transport(0, 1), transport(1, 2)])
    cores = Accelerators([transport(0, 1), transport(1, 1)])
    program = programs[0]
    with pytest.raises(UserError, match="no operating point 'none' in this program"):
        cores.run(program, [], point="none")
    assert cores.run(program, [], point="dense") == []
    assert memory.read_bytes()[: len(program.image)] == program.image
