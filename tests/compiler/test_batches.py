"""Programs for several images: where they lie, which layers read weights once, what that saves."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.batches import without_zap_in
from bench.measure import load_measurement
from compiler import batches, program_file
from compiler.build import compile_bundle
from compiler.costs import NetworkCosts
from compiler.costs_file import network_costs
from compiler.cycles import layer_cycles
from compiler.memory_layout import Place
from compiler.program import DENSE
from golden.bundle import Bundle
from golden.errors import UserError
from golden.layers import Conv, conv
from golden.network import Network
from hw.contract.config import PRESETS
from hw.contract.program import descriptor_words
from tb.random.networks import random_image, random_network
from tests.hw.small_configs import STRIPS, TINY

DEFAULT = PRESETS["default"]
VGG = Path("examples/bundles/vgg16-cifar-quarter")
LATE = [f"features.{number}" for number in (24, 27, 30, 34, 37, 40)]
"""Convolutions of 4x4 and of 2x2 maps."""


@pytest.fixture(scope="module")
def vgg() -> Bundle:
    """VGG-16 at a quarter of its width, with a ZAP in its early layers alone."""
    return without_zap_in(Bundle.load(VGG), "max-drop-1", LATE)


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("parts", [(), (3, 6)])
def test_images_read_back_as_they_were_packed(parts: tuple[int, ...], beside: bool) -> None:
    place = Place(64, (9, 3, 5), TINY.group, True, parts, 4, beside)
    images = np.random.default_rng(1).integers(-128, 128, place.whole_shape).astype(np.int32)
    data = place.pack(images)
    assert len(data) == place.size
    np.testing.assert_array_equal(place.unpack(data), images)
    for number, image in enumerate(images):
        first = place.of_image(number).address - place.address
        for channel, row, column in ((0, 0, 0), (8, 2, 4), (4, 1, 3)):
            plane, lane = divmod(place.slots[channel], place.group)
            at = plane * place.plane_bytes + row * place.row_bytes + column * place.group + lane
            assert data[first + at] == image[channel, row, column] & 0xFF


def test_a_row_of_all_images_is_a_row_of_each() -> None:
    """Kernel rows in the padding are left out, whether images lie below each other or beside."""
    draw = torch.Generator().manual_seed(1)
    images, channels, height, width = 3, 4, 5, 4
    ifm = torch.randint(0, 256, (images, channels, height, width), generator=draw).int()
    for kernel, stride, dilation, padding in (
        ((3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
        ((3, 2), (2, 2), (1, 1), (2, 1, 0, 1)),
        ((3, 3), (1, 1), (2, 1), (2, 2, 1, 1)),
        ((5, 4), (1, 1), (1, 1), (0, 0, 0, 0)),
        ((1, 1), (2, 2), (1, 1), (0, 0, 0, 0)),
    ):
        layer = Conv(
            name="a",
            weight=torch.randint(-128, 128, (6, channels, *kernel), generator=draw).to(torch.int8),
            bias=torch.zeros(6, dtype=torch.int32),
            multiplier=torch.full((6,), 40_000, dtype=torch.int32),
            shift=torch.full((6,), 24, dtype=torch.int32),
            stride=stride,
            dilation=dilation,
            padding=padding,
        )
        expected = conv(layer, ifm).ofm
        assert expected.any()
        below = ifm.transpose(0, 1).reshape(1, channels, images * height, width)
        beside = ifm.permute(1, 2, 0, 3).reshape(1, channels, height * images, width)
        for row in range(expected.shape[2]):
            for rows, lies_beside in ((below, False), (beside, True)):
                place = Place(0, (channels, height, width), 4, False, (), images, lies_beside)
                of_all = batches._row_of_images(layer, row, place)
                assert of_all is not None
                found = conv(of_all, rows).ofm
                assert found.shape[2] == images
                assert torch.equal(found[0].transpose(0, 1), expected[:, :, row])


@pytest.mark.parametrize("config", [TINY, STRIPS], ids=["tiny", "strips"])
def test_every_word_is_one_that_a_core_accepts(
    config: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    core = TINY if config is TINY else STRIPS
    rng = random.Random(4)
    together = 0
    for _ in range(12):
        bundle = random_network(core, rng)
        with monkeypatch.context() as patch:
            patch.setattr(batches, "_most_rows", lambda _: 64)
            patch.setattr(batches, "_cycles", lambda *_: rng.random())
            try:
                program = compile_bundle(bundle, core, images=rng.randint(2, 5))
            except UserError:
                continue  # too large for the configuration
        table = descriptor_words(core)
        for point in program.points:
            for words in program.descriptors(point):
                assert all(word.accepts(words[name]) for name, word in table.items())
        together += sum(place.beside for place in program.tensors.values())
        file = tmp_path / "a.zap"
        program_file.save(program, file)
        assert program_file.load(file) == program
    assert together > 3


def test_a_program_for_one_image_is_as_before() -> None:
    bundle = random_network(TINY, random.Random(3))
    one = compile_bundle(bundle, TINY)
    assert one == compile_bundle(bundle, TINY, images=1)
    assert not any(place.beside for place in one.tensors.values())


def test_golden_gives_each_image_the_bits_that_it_has_alone() -> None:
    rng = random.Random(6)
    bundle = random_network(TINY, rng)
    network = Network(*bundle.at(bundle.manifest.operating_points[0].name))
    images = torch.stack([random_image(bundle, rng) for _ in range(3)])
    together = network(images)
    for number, image in enumerate(images):
        assert torch.equal(together[number], network(image[None])[0])


def test_a_layer_with_zap_runs_image_by_image(vgg: Bundle) -> None:
    program = compile_bundle(vgg, DEFAULT, images=8)
    tiles = {layer.name: layer.tiles["max-drop-1"] for layer in program.layers}
    (point,) = vgg.manifest.operating_points
    for name in point.layers:
        assert tiles[name] % 8 == 0
    assert (tiles["classifier"], tiles["features.34"], tiles["features.24"]) == (1, 2, 4)
    # The pooling behind a layer that runs row by row is a step by itself.
    assert tiles["features.43"] == 1


def test_eight_images_of_vgg_take_less_than_159_000_cycles_each(vgg: Bundle) -> None:
    measured = load_measurement(Path("docs/results/bench/counted/vgg16-cifar-quarter-default.json"))
    kept = {
        layer.name: np.array(layer.kept) * layer.ofm[0] / (layer.on["kept"] + layer.on["skipped"])
        for layer in measured.layers
        if layer.kept
    }
    for images, most in ((1, 223_000), (8, 159_000)):
        program = compile_bundle(vgg, DEFAULT, images=images)
        cycles = layer_cycles(program, "max-drop-1", kept)
        assert sum(layer.elapsed for layer in cycles.values()) <= images * most


def test_costs_are_of_each_image_of_a_batch(vgg: Bundle) -> None:
    costs = NetworkCosts(vgg, DEFAULT, images=8)
    program = compile_bundle(
        Bundle(vgg.manifest.model_copy(update={"operating_points": []}), vgg.tensors),
        DEFAULT,
        images=8,
    )
    of_program = layer_cycles(program, DENSE)
    assert {name: cycles.elapsed for name, cycles in costs.cycles().items()} == pytest.approx(
        {name: cycles.elapsed / 8 for name, cycles in of_program.items()}
    )


@pytest.mark.second
def test_a_zap_saves_nothing_where_a_batch_saves_more(vgg: Bundle) -> None:
    """Costs of a batch lead `quant.choose` to leave ZAP out of layers that read weights once."""
    alone, eight = (network_costs(vgg, DEFAULT, images=images) for images in (1, 8))
    for name in LATE:
        saved = [max(zap.saved) for zap in eight.layers[name].zaps.values()]
        assert saved
        assert max(saved) < 0
    for name in ("features.3", "features.10"):
        assert max(zap.saved[-1] for zap in eight.layers[name].zaps.values()) > 0
    assert eight.layers["classifier"].cycles < 0.25 * alone.layers["classifier"].cycles


def test_images_of_another_number_are_refused(vgg: Bundle) -> None:
    program = compile_bundle(vgg, DEFAULT, images=2)
    place = program.tensors[program.input]
    with pytest.raises(UserError, match=r"must be uint8 of shape \(2, 3, 32, 32\)"):
        program.quantise(np.zeros((3, *place.shape), np.uint8))
    with pytest.raises(UserError, match=r"must be integers .* of shape \(2, 3, 32, 32\)"):
        place.pack(np.zeros(place.shape, np.int32))
    one = np.random.default_rng(1).integers(0, 256, place.shape).astype(np.uint8)
    both = program.quantise(np.stack([one, one]))
    assert np.array_equal(both[1], program.quantise(one))
    assert replace(program, images=2) == program


def test_a_program_has_the_points_that_are_asked_for(vgg: Bundle) -> None:
    bundle = Bundle.load(VGG)
    names = ["max-drop-2", "default"]
    program = compile_bundle(bundle, DEFAULT, points=names)
    assert program.points == [DENSE, *names]
    every = compile_bundle(bundle, DEFAULT)
    assert every.points == [DENSE, *(point.name for point in bundle.manifest.operating_points)]
    with pytest.raises(UserError, match="no operating point 'best'"):
        compile_bundle(bundle, DEFAULT, points=["best"])
