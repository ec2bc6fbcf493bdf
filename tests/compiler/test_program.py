"""Programs: everything has its place in memory, nothing overlaps, and what cannot be is refused."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compiler.build import compile_bundle
from compiler.driver import Accelerator, MemoryMapped
from compiler.lowering import step_lowering
from compiler.memory_layout import Allocator, Place
from compiler.program import DENSE, Program, check_window
from compiler.tensor_placement import tensor_layouts
from golden.bundle import Bundle
from golden.errors import UserError
from golden.manifest import (
    SCHEMA_VERSION,
    Activation,
    ConcatNode,
    ConvNode,
    Input,
    Manifest,
    Node,
    ReshapeNode,
    ShortcutNode,
)
from hw.contract.config import Config
from hw.contract.counters import STORED_BYTES
from hw.contract.program import (
    DESCRIPTOR_BYTES,
    HEADER_BYTES,
    OFFSET_END,
    Word,
    descriptor_words,
    header_words,
)
from tb.random.networks import random_network
from tb.random.zaps import POINT
from tests.hw.small_configs import STRIPS, TINY
from tests.quant.tiny_networks import SHAPE, images, tiny_bundle


@pytest.fixture(scope="module")
def bundles() -> list[Bundle]:
    rng = random.Random(2)
    return [random_network(STRIPS, rng) for _ in range(12)]


def words_at(program: Program, address: int, words: dict[str, Word]) -> dict[str, int]:
    """A header or descriptor as a core reads it; fails where one would refuse it."""
    values = {}
    for number, (name, word) in enumerate(words.items()):
        at = address + 4 * number
        values[name] = int.from_bytes(program.image[at : at + 4], "little", signed=word.low < 0)
        assert word.accepts(values[name]), name
    return values


def descriptors(program: Program, point: str) -> list[dict[str, int]]:
    at = program.points.index(point) * HEADER_BYTES
    header = words_at(program, at, header_words(program.config))
    return [
        words_at(program, header["first"] + n * DESCRIPTOR_BYTES, descriptor_words(program.config))
        for n in range(header["tiles"])
    ]


@pytest.mark.parametrize("config", [TINY, STRIPS], ids=["tiny", "strips"])
def test_every_word_is_one_that_a_core_accepts(bundles: list[Bundle], config: Config) -> None:
    for bundle in bundles:
        program = compile_bundle(bundle, config)
        assert program.points == [DENSE, POINT]
        for point in program.points:
            counts = [layer.tiles[point] for layer in program.layers]
            tiles = descriptors(program, point)
            layers = np.repeat(range(len(counts)), counts)
            assert [tile["layer"] for tile in tiles] == layers.tolist()
            stored = program.counters + STORED_BYTES * np.arange(len(tiles))
            assert [tile["counters"] for tile in tiles] == stored.tolist()
        assert not any(tile["zap"] for tile in descriptors(program, DENSE))


def test_strips_write_every_row_once_and_share_scratch_memory_of_their_own(
    bundles: list[Bundle],
) -> None:
    cut = 0
    for bundle in bundles:
        program = compile_bundle(bundle, STRIPS)
        first_tensor = min(place.address for place in program.tensors.values())
        for point in program.points:
            tiles = iter(descriptors(program, point))
            for layer in program.layers:
                place = program.tensors[layer.output]
                at = place.address
                spilled = 0
                for tile in islice(tiles, layer.tiles[point]):
                    assert (tile["ofm_address"], tile["ofm_plane"]) == (at, place.plane_bytes)
                    at += tile["ofm_words"] * STRIPS.group
                    assert tile["restored"] == spilled
                    spilled = tile["spilled"]
                    assert max(tile["restored"], spilled) * STRIPS.group <= tile["halo_plane"]
                    shared = tile["halo_plane"] * place.planes
                    assert len(program.image) <= tile["halo_address"]
                    assert tile["halo_address"] + shared <= first_tensor
                    cut += spilled > 0
                assert at == place.address + place.plane_bytes
                assert spilled == 0
    assert cut > 0


def first_tiles(program: Program, point: str) -> list[dict[str, int]]:
    """The first tile of each layer."""
    layers = {tile["layer"]: tile for tile in reversed(descriptors(program, point))}
    return [layers[number] for number in range(len(program.layers))]


def test_points_share_weights_and_have_parameters_of_their_own(bundles: list[Bundle]) -> None:
    shared = 0
    for bundle in bundles:
        program = compile_bundle(bundle, TINY)
        for dense, zap in zip(
            first_tiles(program, DENSE), first_tiles(program, POINT), strict=True
        ):
            packed_alike = all(dense[name] == zap[name] for name in ("pack_height", "pack_width"))
            assert (dense["weights"] == zap["weights"]) == packed_alike
            assert (dense["parameters"] == zap["parameters"]) == (not zap["zap"])
            shared += zap["zap"] and packed_alike
    assert shared > 0


def test_tensors_that_live_at_the_same_time_do_not_overlap(bundles: list[Bundle]) -> None:
    for bundle in bundles:
        if any(node.op == "concat" for node in bundle.manifest.layers):
            continue  # whose tensors overlap on purpose
        program = compile_bundle(bundle, TINY)
        live: dict[str, int] = {program.input: -1}
        for number, layer in enumerate(program.layers):
            for name in {layer.input, layer.residual} - {""}:
                live[name] = max(live[name], number)
            live[layer.output] = number
        live[program.output] = len(program.layers)
        born = {program.input: -1} | {
            layer.output: number for number, layer in enumerate(program.layers)
        }
        places = list(program.tensors.items())
        for i, (one, a) in enumerate(places):
            for other, b in places[:i]:
                together = born[one] <= live[other] and born[other] <= live[one]
                apart = a.address + a.size <= b.address or b.address + b.size <= a.address
                assert apart or not together, f"{one} and {other}"
            assert len(program.image) <= a.address
            assert a.address + a.size <= program.end


def test_kept_tensors_share_nothing_and_freed_ones_save_memory(bundles: list[Bundle]) -> None:
    ends = [(compile_bundle(b, TINY).end, compile_bundle(b, TINY, keep=True).end) for b in bundles]
    assert all(reused <= kept for reused, kept in ends)
    assert any(reused < kept for reused, kept in ends)
    plain = next(b for b in bundles if not any(n.op == "concat" for n in b.manifest.layers))
    places = compile_bundle(plain, TINY, keep=True).tensors.values()
    spans = sorted((place.address, place.address + place.size) for place in places)
    assert all(end <= first for (_, end), (first, _) in pairwise(spans))


def concatenating() -> tuple[Bundle, ConcatNode]:
    """A random network with a concatenation, and the concatenation."""
    rng = random.Random(3)
    while True:
        bundle = random_network(TINY, rng)
        for node in bundle.manifest.layers:
            if isinstance(node, ConcatNode):
                return bundle, node


def test_concatenated_tensors_are_planes_of_one() -> None:
    bundle, node = concatenating()
    tensors = compile_bundle(bundle, TINY).tensors
    whole = tensors[node.output]
    at = whole.address
    for part in (tensors[name] for name in node.inputs):
        assert part.address == at
        at += part.size
    assert at == whole.address + whole.size


def test_each_part_of_a_concatenation_begins_a_plane() -> None:
    inner = Place(0, (9, 2, 2), 4, signed=False, parts=(3, 6))
    assert inner.slots == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert (inner.slot_count, inner.planes) == (10, 3)
    outer = Place(0, (10, 2, 2), 4, signed=False, parts=(3, 6, 1))
    assert outer.slots == [*inner.slots, 12]
    assert outer.planes == inner.planes + 1


def test_a_reshaped_concatenation_has_the_parts_of_the_concatenation() -> None:
    bundle, node = concatenating()
    manifest, whole = bundle.manifest, bundle.manifest.activations[node.output]
    channels, height, width = whole.shape
    flat = whole.model_copy(update={"shape": (channels, 1, height * width)})
    reshaped = manifest.model_copy(
        update={
            "layers": [
                *manifest.layers,
                ReshapeNode(name="flat", input=node.output, output="flat"),
            ],
            "activations": {**manifest.activations, "flat": flat},
        }
    )
    layouts = tensor_layouts(reshaped, replace(TINY, group=16))
    assert layouts["flat"].parts == layouts[node.output].parts
    assert layouts["flat"].slot_count > channels


def test_a_program_that_no_window_holds_is_refused() -> None:
    check_window(1 << 20)
    with pytest.raises(UserError, match=r"^the program needs [\d,]+ bytes of memory; a window has"):
        check_window(OFFSET_END)
    with pytest.raises(UserError, match=r"bytes of memory for 3 cores; a window has"):
        check_window(OFFSET_END, 3)


def test_an_image_of_another_shape_is_refused_by_its_axes(bundles: list[Bundle]) -> None:
    bundle = bundles[0]
    for count, axes in ((1, r"\(channels, height, width\)"), (2, r"\(images, channels, ...\)")):
        program = compile_bundle(bundle, STRIPS, images=count)
        with pytest.raises(UserError, match=rf"must be uint8 of shape \(.*\) {axes}$"):
            program.quantise(np.zeros((1, 1), np.uint8))


def test_a_residual_with_gaps_is_copied_to_planes_without() -> None:
    bundle, node = concatenating()
    *layers, layer = bundle.manifest.layers
    adds = layer.model_copy(update={"shortcut": ShortcutNode(input=node.output)})
    manifest = bundle.manifest.model_copy(update={"layers": [*layers, adds]})
    tensors = dict(bundle.tensors)
    for field in ("multiplier", "shift"):
        tensors[f"layers.{layer.name}.shortcut_{field}"] = tensors[f"layers.{layer.name}.{field}"]
    program = compile_bundle(Bundle(manifest, tensors), replace(TINY, group=16))
    copy, reader = program.layers[-2:]
    assert (copy.name, copy.input) == (f"{layer.name}:residual", node.output)
    assert (reader.name, reader.residual) == (layer.name, copy.output)
    gaps, none = program.tensors[node.output], program.tensors[copy.output]
    assert gaps.slot_count > gaps.shape[0] == none.shape[0] == none.slot_count


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("channels", "parts"), [(1, ()), (4, ()), (9, ()), (9, (5, 4)), (10, (3, 6, 1))]
)
def test_a_tensor_reads_back_as_it_was_packed(
    channels: int, parts: tuple[int, ...], signed: bool
) -> None:
    place = Place(0, (channels, 3, 5), TINY.group, signed, parts)
    low = -128 if signed else 0
    tensor = np.random.default_rng(1).integers(low, low + 256, place.shape).astype(np.int32)
    tensor[0, 0, :2] = low, low + 255
    data = place.pack(tensor)
    assert len(data) == place.size
    unpacked = place.unpack(data)
    np.testing.assert_array_equal(unpacked, tensor)
    assert unpacked.dtype == np.int32
    assert data[place.row_bytes * 2 + place.group + 0] == tensor[0, 2, 1] & 0xFF


def test_the_allocator_uses_the_lowest_gap_that_fits() -> None:
    allocator = Allocator(128)
    first, second, third = (allocator.take(size) for size in (1, 100, 64))
    assert (first, second, third) == (128, 192, 320)
    allocator.free(second)
    assert allocator.take(64) == 192
    assert allocator.take(65) == 384
    assert allocator.end == 512


@pytest.mark.second
def test_a_chain_of_1100_concatenations_is_compiled() -> None:
    """Each takes the one before and one channel more."""
    zero = torch.zeros(1, dtype=torch.int32)
    activations = {"in": Activation(shape=(1, 1, 1), signed=False, scale=1)}
    layers: list[Node] = []
    tensors = {}
    last = ""
    for number in range(1100):
        name = f"part{number}"
        layers.append(ConvNode(name=name, input="in", output=name))
        activations[name] = activations["in"]
        whole = name
        if number:
            whole = f"whole{number}"
            layers.append(ConcatNode(name=whole, inputs=[last, name], output=whole))
            activations[whole] = Activation(shape=(number + 1, 1, 1), signed=False, scale=1)
        last = whole
        tensors[f"layers.{name}.weight"] = torch.ones(1, 1, 1, 1, dtype=torch.int8)
        for field, value in (("bias", 0), ("multiplier", 1 << 15), ("shift", 15)):
            tensors[f"layers.{name}.{field}"] = zero + value
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name="chain",
        input=Input(tensor="in", mean=[0], std=[1]),
        output=last,
        classes=[str(number) for number in range(1100)],
        activations=activations,
        layers=layers,
    )
    program = compile_bundle(Bundle(manifest, tensors), TINY)
    assert program.tensors[last].parts == (1,) * 1100
    assert program.tensors["part0"].address == program.tensors[last].address


def test_a_tensor_that_is_too_large_is_refused_by_name(
    bundles: list[Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_lowering, "MOST_SIZE", 1)
    with pytest.raises(UserError, match=r"^layer 'conv0' reads \d+x\d+x\d+ .* takes 1 of each"):
        compile_bundle(bundles[0], TINY)


def test_a_driver_finds_no_core_where_there_is_none(tmp_path: Path) -> None:
    device = tmp_path / "mem"
    device.write_bytes(bytes(1 << 16))
    bus = MemoryMapped((device, 0), (device, 4096, 1 << 15))
    bus.write_memory(16, b"abc")
    assert bus.read_memory(15, 5) == b"\0abc\0"
    assert device.read_bytes()[4096 + 16 :][:3] == b"abc"
    with pytest.raises(UserError, match="no zapcore here: register id reads 0x00000000"):
        Accelerator(bus)
    with pytest.raises(UserError, match="absent: cannot be mapped: No such file"):
        MemoryMapped((tmp_path / "absent", 0), (device, 0, 4096))


def padded(left: int, top: int) -> Bundle:
    """A network of a 2x2 convolution, on maps with zeros on the left and above, and a classifier.

    Where there are many columns, pooling leaves two of them.
    """
    pool = nn.MaxPool2d((1, max(left // 2, 1)))
    module = nn.Sequential(
        nn.ZeroPad2d((left, 0, top, 0)), nn.Conv2d(3, 4, 2), nn.ReLU(), pool, nn.Flatten(),
        nn.LazyLinear(3),
    )  # fmt: skip
    module(torch.zeros(1, *SHAPE))
    return tiny_bundle(module.eval(), images(8))[1]


def test_a_tile_that_loads_nothing_but_padding_has_its_rows_below() -> None:
    """A core begins no load whose rows are all above the map."""
    program = compile_bundle(padded(0, 9), replace(TINY, ofm_words=32), keep=True)
    words = program.descriptors(DENSE)
    empty = [tile for tile in words if tile["ifm_height"] == 0]
    assert empty
    for tile in empty:
        assert tile["pad_top"] == 0
        assert tile["pad_bottom"] > 0


def test_more_padding_than_a_core_counts_is_refused_by_name() -> None:
    config = replace(TINY, ifm_words=1 << 16, ofm_words=1 << 15)
    with pytest.raises(UserError, match=r"^layer '1' needs pad_\w+ = 5000 \(.*takes 0 .. 4096"):
        compile_bundle(padded(5000, 0), config)
