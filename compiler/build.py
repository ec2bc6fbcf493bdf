"""Compiles a bundle into a program: a memory image, and a layout that says what lies where.

A program has an operating point `dense` without ZAP and all those of the bundle; they share the
weights. In memory it begins with one header for each operating point. Tile descriptors and tables
of records and weights follow, then scratch memory for counters, shared rows and tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from compiler.batches import LoweredStep, lower_for_images, plan_images
from compiler.lowering.layer_lowering import LoweredLayer
from compiler.lowering.tile_words import halo_bytes, halo_words
from compiler.memory_layout import Allocator, Place, aligned
from compiler.program import (
    DENSE,
    Program,
    ProgramLayer,
    check_window,
    pack_tiles,
    size_of_tiles,
)
from compiler.rewriting.rewrites import as_the_core_runs_it
from compiler.tensor_placement import place_tensors
from golden.bundle import Bundle
from golden.errors import UserError
from golden.layers import Predictor
from golden.network import quantise_images
from hw.contract.config import Config
from hw.contract.counters import STORED_BYTES
from hw.contract.program import (
    OPCODE_TILE,
    descriptor_words,
)
from hw.contract.program_file import LEVELS
from hw.contract.records import record_words

__all__ = ["compile_bundle"]


def compile_bundle(
    bundle: Bundle,
    config: Config,
    *,
    keep: bool = False,
    reuse_input: bool = False,
    images: int = 1,
    points: Sequence[str] | None = None,
) -> Program:
    """Compile a bundle for cores of a configuration, to run so many `images` at a time.

    Layers that have a ZAP at no operating point of the program may then read each weight once for
    all images (`compiler.batches`). The program has the operating points that `points` names, in
    that order; None stands for all of the bundle. With `keep` no memory is used twice, so that
    every layer's ofm can be read when all is done. With `reuse_input` the input's memory is used
    again, so that the input does not survive a run. Raises UserError where the configuration cannot
    hold a layer, naming both.
    """
    bundle = as_the_core_runs_it(bundle, config)
    manifest = bundle.manifest
    networks: dict[str, tuple[Bundle, Mapping[str, Predictor]]] = {DENSE: (bundle, {})}
    for name in [p.name for p in manifest.operating_points] if points is None else points:
        networks[name] = bundle.at(name)
    with_zap = {name for _, predictors in networks.values() for name in predictors}
    plan = plan_images(bundle, config, images, with_zap)
    layouts, steps = plan.layouts, plan.steps(bundle)
    lowered = {
        name: lower_for_images(config, plan, network, predictors)
        for name, (network, predictors) in networks.items()
    }

    # The program itself comes first: headers, descriptors of each operating point, then tables.
    tiles = {name: sum(step.tiles for step in of_point) for name, of_point in lowered.items()}
    tables = _Tables(aligned(size_of_tiles(list(tiles.values()))))
    table_words = {
        name: [[tables.add_layer(layer) for layer in step.layers] for step in of_point]
        for name, of_point in lowered.items()
    }
    allocator = Allocator(tables.end)
    counters = allocator.take(STORED_BYTES * max(tiles.values()))
    every = [layer for of_point in lowered.values() for step in of_point for layer in step.layers]
    halo = allocator.take(max(map(halo_bytes, every)))
    tensors = place_tensors(manifest, layouts, steps, allocator, keep=keep, reuse_input=reuse_input)
    check_window(allocator.end)
    memory = _Memory(counters, halo, tensors)
    words = [
        _descriptors(config, of_point, table_words[name], memory)
        for name, of_point in lowered.items()
    ]
    return Program(
        config=config,
        network=manifest.name,
        image=pack_tiles(config, words).ljust(tables.base, b"\0") + tables.data,
        end=allocator.end,
        points=list(networks),
        counters=counters,
        layers=[
            _program_layer({name: of_point[number] for name, of_point in lowered.items()})
            for number in range(len(steps))
        ],
        tensors=tensors,
        input=manifest.input.tensor,
        output=manifest.output,
        other_outputs=manifest.other_outputs,
        scales={
            name: manifest.activations[name].scale
            for name in (manifest.input.tensor, *manifest.outputs)
        },
        images=images,
        levels=_levels(bundle),
        classes=manifest.classes,
    )


@dataclass(frozen=True)
class _Memory:
    """Addresses of the tiles' counters and of the rows that strips share; places of tensors."""

    counters: int
    halo: int
    tensors: Mapping[str, Place]


def _levels(bundle: Bundle) -> bytes:
    """The input's level for each channel and each value of an 8-bit pixel."""
    channels = len(bundle.manifest.input.mean)
    pixels = torch.arange(LEVELS).expand(1, channels, 1, LEVELS) / (LEVELS - 1)
    return quantise_images(bundle, pixels).numpy().astype(np.uint8).tobytes()


class _Tables:
    """Records and weights from offset `base` on; each different table is stored once."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.data = bytearray()
        self._known: dict[bytes, int] = {}

    @property
    def end(self) -> int:
        """The first address after the tables."""
        return self.base + len(self.data)

    def add_layer(self, layer: LoweredLayer) -> dict[str, int]:
        """Add a layer's tables; returns the words with their addresses.

        Records and weights are apart, so that operating points share the weights.
        """
        words = record_words(layer.config)
        stream = layer.records.reshape(len(layer.conv.weight), -1, layer.config.lanes)
        return {"parameters": self._add(stream[:, :words]), "weights": self._add(stream[:, words:])}

    def _add(self, table: np.ndarray) -> int:
        """The address of a table."""
        content = table.tobytes()
        if content not in self._known:
            self._known[content] = self.end
            self.data += content.ljust(aligned(len(content)), b"\0")
        return self._known[content]


def _descriptors(
    config: Config,
    steps: Sequence[LoweredStep],
    table_words: Sequence[Sequence[Mapping[str, int]]],
    memory: _Memory,
) -> list[dict[str, int]]:
    """The words of an operating point's tiles, in order."""
    descriptors = []
    counters = memory.counters
    for number, lowered in enumerate(steps):
        parts = lowered.parts(memory.tensors)
        for part, table in zip(parts, lowered.tables, strict=True):
            for shape in part.words():
                words = {
                    "opcode": OPCODE_TILE,
                    "layer": number,
                    **shape,
                    **table_words[number][table],
                    **halo_words(part.layer, memory.halo),
                    "counters": counters,
                }
                _check_words(config, lowered.step.name, words)
                descriptors.append(words)
                counters += STORED_BYTES
    return descriptors


def _check_words(config: Config, layer: str, values: Mapping[str, int]) -> None:
    """Raise UserError where a core would refuse a word of a tile's descriptor.

    Extreme shapes alone come so far, such as a padding of thousands of rows: what most layers need
    too much of is refused before, by the name of the configuration's field.
    """
    for name, word in descriptor_words(config).items():
        if not word.accepts(values[name]):
            raise UserError(
                f"layer {layer!r} needs {name} = {values[name]} ({word.text}); a core of "
                f"configuration {config.name!r} takes {word.low} .. {word.high}"
            )


def _program_layer(lowered: Mapping[str, LoweredStep]) -> ProgramLayer:
    """Sum up a step that is lowered for each operating point."""
    dense = lowered[DENSE]
    step = dense.step
    layers = [layer for of_point in lowered.values() for layer in of_point.layers]
    return ProgramLayer(
        name=step.name,
        input=step.input,
        residual=step.residual,
        output=step.output,
        tiles={name: of_point.tiles for name, of_point in lowered.items()},
        macs=step.macs * dense.images,
        ifm_words=max(layer.ifm_words for layer in layers),
        kernel_words=max(layer.tiles[0].fields["kernel_words"] for layer in dense.layers),
        pixels=max(tile.fields["pixels"] for layer in layers for tile in layer.tiles),
    )
