"""Compiles a bundle into a program: a memory image, and a layout that says what lies where.

A program has an operating point `dense` without ZAP and all those of the bundle; they share the
weights. In memory it begins with one header for each operating point. Tile descriptors and tables
of records and weights follow, then scratch memory for counters, shared rows and tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from compiler.cut_search import lower_fastest
from compiler.layer_lowering import LoweredLayer, Tile
from compiler.memory_layout import Allocator, Place, aligned
from compiler.program import DENSE, Program, ProgramLayer
from compiler.residual_copies import with_residual_copies
from compiler.slices import cut_slices, expanded
from compiler.steps import Step, network_steps
from compiler.tensor_placement import place_tensors, tensor_layouts
from compiler.tile_words import (
    engine_words,
    halo_bytes,
    halo_words,
    ifm_words,
    ofm_words,
    residual_words,
)
from golden.bundle import Bundle
from golden.errors import UserError
from golden.layers import Predictor
from golden.network import quantise_images
from hw.contract.bus import PAGE_BITS
from hw.contract.config import Config
from hw.contract.counters import STORED_BYTES
from hw.contract.program import (
    DESCRIPTOR_BYTES,
    HEADER_BYTES,
    MAGIC,
    MOST_SIZE,
    OFFSET_END,
    OPCODE_TILE,
    VERSION,
    descriptor_words,
    header_words,
    pack_words,
)
from hw.contract.program_file import LEVELS
from hw.contract.records import record_words

__all__ = ["compile_bundle", "lower_step", "shape_words"]


def compile_bundle(
    bundle: Bundle, config: Config, *, keep: bool = False, reuse_input: bool = False
) -> Program:
    """Compile a bundle for cores of a configuration.

    With `keep` no memory is used twice, so that every layer's ofm can be read when all is done.
    With `reuse_input` the input's memory is used again, so that the input does not survive a run.
    Raises UserError where the configuration cannot hold a layer, naming both.
    """
    bundle = with_residual_copies(bundle, config)
    manifest = bundle.manifest
    networks: dict[str, tuple[Bundle, Mapping[str, Predictor]]] = {DENSE: (bundle, {})}
    for point in manifest.operating_points:
        networks[point.name] = bundle.at(point.name)
    steps = network_steps(bundle)
    layouts = tensor_layouts(manifest, config)
    lowered = {
        name: [lower_step(config, step, layouts, predictors) for step in network_steps(network)]
        for name, (network, predictors) in networks.items()
    }

    # The program itself comes first: headers, descriptors of each operating point, then tables.
    tiles = {name: sum(len(layer.tiles) for layer in layers) for name, layers in lowered.items()}
    tables = _Tables(aligned(len(networks) * HEADER_BYTES + sum(tiles.values()) * DESCRIPTOR_BYTES))
    table_words = {
        name: [tables.add_layer(layer) for layer in layers] for name, layers in lowered.items()
    }
    allocator = Allocator(tables.end)
    counters = allocator.take(STORED_BYTES * max(tiles.values()))
    halo = allocator.take(max(halo_bytes(layer) for layers in lowered.values() for layer in layers))
    tensors = place_tensors(manifest, layouts, steps, allocator, keep=keep, reuse_input=reuse_input)
    if allocator.end >= OFFSET_END - (1 << PAGE_BITS):
        raise UserError(
            f"the program needs {allocator.end:,} bytes of memory; a window has less than "
            f"{OFFSET_END:,}"
        )
    memory = _Memory(counters, halo, tensors)
    descriptors = {
        name: _descriptors(config, steps, layers, table_words[name], memory)
        for name, layers in lowered.items()
    }
    return Program(
        config=config,
        network=manifest.name,
        image=_headers(config, descriptors).ljust(tables.base, b"\0") + tables.data,
        end=allocator.end,
        points=list(networks),
        counters=counters,
        layers=[
            _program_layer(step, {name: layers[number] for name, layers in lowered.items()})
            for number, step in enumerate(steps)
        ],
        tensors=tensors,
        input=manifest.input.tensor,
        output=manifest.output,
        other_outputs=manifest.other_outputs,
        scales={
            name: manifest.activations[name].scale
            for name in (manifest.input.tensor, *manifest.outputs)
        },
        levels=_levels(bundle),
        classes=manifest.classes,
    )


@dataclass(frozen=True)
class _Memory:
    """Addresses of the tiles' counters and of the rows that strips share; places of tensors."""

    counters: int
    halo: int
    tensors: Mapping[str, Place]


def lower_step(
    config: Config,
    step: Step,
    layouts: Mapping[str, Place],
    predictors: Mapping[str, Predictor],
) -> LoweredLayer:
    """A step as tiles. Slots of the ifm that hold no channel have weights of zero.

    A residual has the place that `compiler.residual_copies` sees to.
    Raises UserError where the configuration cannot hold it: a `compiler.misfit.Misfit` where more
    of one of its fields would do.
    """
    ifm = layouts[step.input]
    residual = layouts.get(step.residual)
    size = (ifm.slot_count, *ifm.shape[1:])
    channels, _, width = size  # a strip has few rows of any height
    if max(channels, width) > MOST_SIZE:
        raise UserError(
            f"layer {step.name!r} reads {'x'.join(map(str, size))} (channels, height, width); "
            f"the core takes {MOST_SIZE} of each at most, but any height"
        )
    conv = step.conv
    if ifm.slot_count > ifm.shape[0]:
        whole = cut_slices(replace(conv, groups=1), ifm.shape[0], config.group)
        weight = conv.weight.new_zeros(len(conv.weight), ifm.slot_count, *conv.kernel)
        weight[:, ifm.slots] = expanded(conv, whole)
        conv = replace(conv, weight=weight, groups=1)
    return lower_fastest(
        config,
        conv,
        size,
        ifm_signed=ifm.signed,
        residual_signed=residual is not None and residual.signed,
        predictor=predictors.get(step.name),
        pool=step.pool,
    )


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
    steps: Sequence[Step],
    layers: Sequence[LoweredLayer],
    table_words: Sequence[Mapping[str, int]],
    memory: _Memory,
) -> bytes:
    """The descriptors of an operating point's tiles, in order."""
    tensors = memory.tensors
    descriptors = bytearray()
    counters = memory.counters
    for number, (step, layer) in enumerate(zip(steps, layers, strict=True)):
        for tile in layer.tiles:
            words = {
                "opcode": OPCODE_TILE,
                "layer": number,
                **shape_words(step, layer, tile, tensors),
                **table_words[number],
                **halo_words(layer, memory.halo),
                "counters": counters,
            }
            _check_words(config, step.name, words)
            descriptors += pack_words(descriptor_words(config), words, DESCRIPTOR_BYTES)
            counters += STORED_BYTES
    return bytes(descriptors)


def shape_words(
    step: Step, layer: LoweredLayer, tile: Tile, tensors: Mapping[str, Place]
) -> dict[str, int]:
    """The words of a tile's descriptor that its layer's shape and the tensors' places decide.

    They are all that the cycle model reads.
    """
    return {
        "early": int(tile.early),
        **engine_words(tile),
        **ifm_words(layer, tile, tensors[step.input]),
        **residual_words(step.conv, tile.strip, tensors.get(step.residual)),
        **ofm_words(layer, tile.strip, tensors[step.output]),
    }


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


def _headers(config: Config, descriptors: Mapping[str, bytes]) -> bytes:
    """A header for each operating point, then the descriptors of each of them."""
    headers = bytearray()
    first = len(descriptors) * HEADER_BYTES
    for of_point in descriptors.values():
        words = {
            "magic": MAGIC,
            "version": VERSION,
            "lanes": config.lanes,
            "group": config.group,
            "tiles": len(of_point) // DESCRIPTOR_BYTES,
            "first": first,
        }
        headers += pack_words(header_words(config), words, HEADER_BYTES)
        first += len(of_point)
    return bytes(headers) + b"".join(descriptors.values())


def _program_layer(step: Step, lowered: Mapping[str, LoweredLayer]) -> ProgramLayer:
    """Sum up a step that is lowered for each operating point."""
    tiles = [tile for layer in lowered.values() for tile in layer.tiles]
    return ProgramLayer(
        name=step.name,
        input=step.input,
        residual=step.residual,
        output=step.output,
        tiles={name: len(layer.tiles) for name, layer in lowered.items()},
        macs=step.macs,
        ifm_words=max(layer.ifm_words for layer in lowered.values()),
        kernel_words=lowered[DENSE].tiles[0].fields["kernel_words"],
        pixels=max(tile.fields["pixels"] for tile in tiles),
    )
