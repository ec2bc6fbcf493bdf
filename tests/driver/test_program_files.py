"""The C driver and program files: it accepts good ones, and nothing damaged leads it astray."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from compiler import program_file
from compiler.build import compile_bundle
from compiler.program import Program
from hw.contract.program_file import HEADER, POINT, TENSOR
from tb.c_driver import DRIVER, FLAGS, driver_sources
from tb.random.networks import random_network
from tests.compiler.program_file_edits import sealed, words_at
from tests.hw.small_configs import STRIPS, TINY

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")

COMPILERS = {
    "gcc for this machine": "gcc",
    "clang for this machine": "clang",
    "gcc for RISC-V, 32 bits": "riscv64-unknown-elf-gcc -march=rv32im -mabi=ilp32 -ffreestanding",
    "gcc for RISC-V, 64 bits": "riscv64-unknown-elf-gcc -ffreestanding",
    "gcc for Arm": "arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb -ffreestanding",
    "clang for RISC-V": "clang --target=riscv32 -march=rv32im -ffreestanding",
    "clang for Arm": "clang --target=aarch64-none-elf -ffreestanding",
}


@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_driver_compiles_without_a_warning(compiler: str, tmp_path: Path) -> None:
    command = COMPILERS[compiler].split()
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]}")
    sources = [DRIVER / "zapcore.c"]
    if "-ffreestanding" not in command:
        sources.append(DRIVER / "linux" / "zapcore_linux.c")
    for source in sources:
        subprocess.run(
            [*command, *FLAGS, *driver_sources(tmp_path), "-c", str(source), "-o", "/dev/null"],
            check=True,
        )


@pytest.fixture(scope="module")
def program() -> Program:
    bundle = random_network(STRIPS, random.Random(5))
    return compile_bundle(bundle, TINY)


@pytest.fixture(scope="module")
def content(program: Program, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("program") / "a.zap"
    program_file.save(program, file)
    return file.read_bytes()


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`use_file.c`, compiled with sanitizers of addresses and of undefined behaviour."""
    folder = tmp_path_factory.mktemp("c")
    sources = [DRIVER / "zapcore.c", Path(__file__).with_name("use_file.c")]
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command = ["cc", *FLAGS, *sanitizers, *driver_sources(folder), *map(str, sources)]
    subprocess.run([*command, "-o", str(folder / "use")], check=True)
    return folder / "use"


def used(user: Path, content: bytes, folder: Path) -> list[str]:
    """Return what the C program says of a file. It fails where a sanitizer finds something."""
    file = folder / "a.zap"
    file.write_bytes(content)
    done = subprocess.run(
        [user, file], capture_output=True, text=True, errors="replace", check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_everything_in_a_file_is_found(
    user: Path, content: bytes, program: Program, tmp_path: Path
) -> None:
    said = used(user, content, tmp_path)
    points = [f"{name} {number}" for number, name in enumerate(program.points)]
    names = [*points, *(layer.name for layer in program.layers), *program.classes]
    assert said[: 1 + len(names)] == ["done", *names]
    ends = [program.input, *program.outputs]
    for line, name in zip(said[1 + len(names) :], ends, strict=False):
        assert line.startswith(f"{name} {'x'.join(map(str, program.tensors[name].shape))} ")
    assert said[-1] == f"class 0 of {program.network}"


def test_every_flipped_bit_is_found(user: Path, content: bytes, tmp_path: Path) -> None:
    rng = random.Random(1)
    says = {
        "the file is not a zapcore program",
        "the file is of another version than this driver; compile again",
        "the file has another size than it says; copy it again",
        "the file is damaged; copy it again",
    }
    seen = set()
    bits = [0, 33, 65, 97, *(rng.randrange(8 * len(content)) for _ in range(40))]
    for bit in bits:
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        (said,) = used(user, bytes(flipped), tmp_path)
        seen.add(said)
    assert seen == says


@pytest.mark.parametrize("size", [0, 3, 4, 4 * len(HEADER) - 1, 4 * len(HEADER), 1000, -1])
def test_a_truncated_file_is_refused(size: int, user: Path, content: bytes, tmp_path: Path) -> None:
    (said,) = used(user, content[:size], tmp_path)
    assert said.startswith(("the file is not a zapcore", "the file has another size"))


def test_no_word_of_a_file_leads_outside_of_it(user: Path, content: bytes, tmp_path: Path) -> None:
    """Each word that the driver reads is changed in turn, under a checksum that is right."""
    header = words_at(content, 0, HEADER)
    places = list(range(4, 4 * len(HEADER), 4))
    for name, words in (("points", POINT), ("tensors", TENSOR)):
        first, count = header[f"{name}_offset"], header[name] * len(words)
        places += [first + 4 * number for number in range(count)]
    tensor = words_at(content, header["tensors_offset"], TENSOR)
    places += [header["layers_offset"], tensor["slots_offset"]]
    rng = random.Random(2)
    accepted = 0
    for place in places:
        for value in (0xFFFF_FFFF, rng.randrange(1 << 32), rng.randrange(2 * len(content)), 0):
            changed = bytearray(content)
            changed[place : place + 4] = struct.pack("<I", value)
            accepted += used(user, sealed(bytes(changed)), tmp_path)[0] == "done"
    assert 0 < accepted < 2 * len(places)
