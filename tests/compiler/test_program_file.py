"""A program's file: it reads back, C finds everything in it, and what is damaged is refused."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compiler import program_file
from compiler.build import compile_bundle
from compiler.program import Program
from golden.bundle import Bundle
from golden.errors import UserError
from golden.network import quantise_images
from hw.contract.program_file import HEADER, INPUT, LEVELS, OUTPUT, POINT, TENSOR
from tb.random.networks import random_network
from tests.compiler.program_file_edits import details_of, sealed, with_details, words_at
from tests.hw.small_configs import STRIPS, TINY


@pytest.fixture(scope="module")
def bundles() -> list[Bundle]:
    rng = random.Random(2)
    return [random_network(STRIPS, rng) for _ in range(4)]


@pytest.fixture(scope="module")
def program(bundles: list[Bundle]) -> Program:
    return compile_bundle(bundles[0], TINY)


def text_at(data: bytes, offset: int) -> str:
    return data[offset : data.index(0, offset)].decode()


def test_a_program_reads_back_from_its_file(bundles: list[Bundle], tmp_path: Path) -> None:
    file = tmp_path / "a.zap"
    for bundle in bundles:
        program = compile_bundle(bundle, TINY)
        program_file.save(program, file)
        assert program_file.load(file) == program
    assert [path.name for path in tmp_path.iterdir()] == ["a.zap"]


def test_everything_that_a_driver_needs_is_found_without_json(
    bundles: list[Bundle], tmp_path: Path
) -> None:
    for bundle in bundles:
        program = compile_bundle(bundle, TINY)
        program_file.save(program, tmp_path / "a.zap")
        data = (tmp_path / "a.zap").read_bytes()
        header = words_at(data, 0, HEADER)
        assert header["memory_bytes"] == program.end
        first = header["image_offset"]
        assert data[first : first + header["image_bytes"]] == program.image
        assert text_at(data, header["network"]) == program.network
        names = [
            text_at(data, words_at(data, header["points_offset"] + 8 * n, POINT)["name"])
            for n in range(header["points"])
        ]
        assert names == program.points
        for table, count, expected in (
            ("layers_offset", "layers", [layer.name for layer in program.layers]),
            ("classes_offset", "classes", bundle.manifest.classes),
        ):
            offsets = struct.unpack_from(f"<{header[count]}I", data, header[table])
            assert [text_at(data, offset) for offset in offsets] == expected
        assert header["tensors"] == 2
        for number, (kind, name) in enumerate(((INPUT, program.input), (OUTPUT, program.output))):
            place = program.tensors[name]
            at = header["tensors_offset"] + 4 * len(TENSOR) * number
            tensor = words_at(data, at, TENSOR)
            assert tensor["kind"] == kind
            assert text_at(data, tensor["name"]) == name
            assert (tensor["address"], tensor["bytes"]) == (place.address, place.size)
            assert (tensor["channels"], tensor["height"], tensor["width"]) == place.shape
            slots = struct.unpack_from(f"<{place.shape[0]}I", data, tensor["slots_offset"])
            assert list(slots) == place.slots
            (scale,) = struct.unpack("<f", struct.pack("<I", tensor["scale"]))
            assert scale == np.float32(bundle.manifest.activations[name].scale)


def test_an_image_is_quantised_as_golden_does_it(bundles: list[Bundle]) -> None:
    rng = np.random.default_rng(1)
    for bundle in bundles:
        program = compile_bundle(bundle, TINY)
        shape = program.tensors[program.input].shape
        pixels = rng.integers(0, LEVELS, shape, dtype=np.uint8)
        expected = quantise_images(bundle, torch.from_numpy(pixels)[None] / 255)[0].numpy()
        np.testing.assert_array_equal(program.quantise(pixels), expected)


def test_an_image_of_another_kind_is_not_quantised(program: Program) -> None:
    shape = program.tensors[program.input].shape
    wrong = (np.zeros(shape), np.zeros(shape, np.int32), np.zeros((*shape, 1), np.uint8))
    for image in wrong:
        with pytest.raises(UserError, match=r"the image is .* must be uint8 of shape"):
            program.quantise(image)


@pytest.mark.parametrize("change", ["float", "shape", "large", "negative"])
def test_an_image_that_is_not_quantised_is_not_packed(change: str, program: Program) -> None:
    place = program.tensors[program.input]
    image = np.zeros(place.shape, np.int32)
    if change == "float":
        image = image.astype(np.float32)  # type: ignore[assignment]
    elif change == "shape":
        image = image[..., :-1]
    else:
        image[0, 0, 0] = 256 if change == "large" else -129
    with pytest.raises(UserError, match=r"the tensor (is|has values) .*must be integers"):
        place.pack(image)


def test_every_flipped_bit_is_found(program: Program, tmp_path: Path) -> None:
    file = tmp_path / "a.zap"
    program_file.save(program, file)
    data = file.read_bytes()
    rng = random.Random(3)
    bits = [*range(8 * 4 * len(HEADER)), *(rng.randrange(8 * len(data)) for _ in range(300))]
    for bit in bits:
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        with pytest.raises(UserError, match=r"a\.zap: .*(again|with python -m compiler)$"):
            program_file.load(file)


@pytest.mark.parametrize("size", [0, 3, 4, 4 * len(HEADER) - 1, 4 * len(HEADER), -1])
def test_a_truncated_file_is_refused(size: int, program: Program, tmp_path: Path) -> None:
    file = tmp_path / "a.zap"
    program_file.save(program, file)
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(
        UserError, match=r"a\.zap: (not a program; write one|has [\d,]+ bytes, must)"
    ):
        program_file.load(file)


@pytest.mark.parametrize("word", ["file_version", "program_version"])
def test_a_file_of_another_version_is_refused_by_name_and_replaced(
    word: str, program: Program, tmp_path: Path
) -> None:
    file = tmp_path / "a.zap"
    program_file.save(program, file)
    data = bytearray(file.read_bytes())
    at = 4 * list(HEADER).index(word)
    data[at : at + 4] = struct.pack("<I", 99)
    file.write_bytes(sealed(bytes(data)))
    with pytest.raises(UserError, match=rf"a\.zap: {word} is 99, must be \d; compile the bundle"):
        program_file.load(file)
    program_file.save(program, file)
    assert program_file.load(file) == program


def test_a_file_that_is_no_program_is_neither_read_nor_replaced(
    program: Program, tmp_path: Path
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("precious" * 100)
    with pytest.raises(UserError, match=r"notes\.txt: exists and is not a program; choose another"):
        program_file.save(program, file)
    with pytest.raises(UserError, match=r"notes\.txt: not a program; write one with"):
        program_file.load(file)
    with pytest.raises(UserError, match=r"absent\.zap: not found; write it with"):
        program_file.load(tmp_path / "absent.zap")
    with pytest.raises(UserError, match="is not a file"):
        program_file.save(program, tmp_path)
    assert file.read_text() == "precious" * 100


def values_of(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in a JSON document."""
    paths = [path]
    if isinstance(document, dict):
        items: Any = document.items()
    elif isinstance(document, list):
        items = enumerate(document)
    else:
        items = ()
    for key, value in items:
        paths += values_of(value, (*path, key))
    return paths


def test_details_of_a_wrong_kind_are_refused(program: Program, tmp_path: Path) -> None:
    """Each value in turn is replaced, under a checksum that is right."""
    file = tmp_path / "a.zap"
    program_file.save(program, file)
    data = file.read_bytes()
    original = details_of(data)
    rng = random.Random(4)
    paths = values_of(original)
    for path in rng.sample(paths, 150):
        wrong: Any = rng.choice([None, [], {}, "x" * 9, -1, 1.5, True, [None], {"a": {}}])
        document = json.loads(json.dumps(original))
        at = document
        for key in path[:-1]:
            at = at[key]
        if path:
            if isinstance(at[path[-1]], type(wrong)):
                continue
            at[path[-1]] = wrong
        else:
            document = wrong
        file.write_bytes(with_details(data, document))
        with pytest.raises(UserError):
            program_file.load(file)
