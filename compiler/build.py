"""From a bundle to what the core runs: a memory image, and a layout that says what lies where.

A program has an operating point `dense` without ZAP and all those of the bundle; they share the
weights. In memory it begins with one header for each point; tile descriptors and tables follow,
then scratch memory for counters and tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from compiler.cut_search import lower_fastest
from compiler.layer_lowering import LoweredLayer
from compiler.memory_layout import ALIGNMENT, Allocator, Place
from compiler.pool_fusion import fused_pool
from compiler.program import DENSE, Program, ProgramLayer
from compiler.tile_words import (
    edge_bytes,
    edge_words,
    engine_words,
    ifm_words,
    ofm_words,
    residual_words,
)
from golden.bundle import Bundle
from golden.errors import UserError
from golden.layers import Conv, Pool, Predictor
from golden.manifest import ConcatNode, ConvNode, PoolNode
from hw.contract.bus import ADDRESS_BITS
from hw.contract.config import Config
from hw.contract.counters import STORED_BYTES
from hw.contract.program import (
    DESCRIPTOR_BYTES,
    HEADER_BYTES,
    MAGIC,
    MOST_SIZE,
    OPCODE_TILE,
    VERSION,
    descriptor_words,
    header_words,
    pack_words,
)
from hw.contract.records import record_words

__all__ = ["compile_bundle"]


@dataclass(frozen=True)
class _Step:
    """A convolution with the pooling behind it, in terms of tensors."""

    name: str
    conv: Conv
    pool: Pool | None
    input: str
    residual: str
    output: str
    macs: int


def compile_bundle(bundle: Bundle, config: Config, *, base: int = 0, keep: bool = False) -> Program:
    """The program of a bundle for cores of that configuration.

    With `keep` no memory is used twice, so that every layer's ofm can be read when all is done.
    Raises UserError where the configuration cannot hold a layer, naming both.
    """
    if base % ALIGNMENT or base < 0:
        raise UserError(f"base address {base:#x} is not a multiple of {ALIGNMENT}")
    networks: dict[str, tuple[Bundle, Mapping[str, Predictor]]] = {DENSE: (bundle, {})}
    for point in bundle.manifest.operating_points:
        networks[point.name] = bundle.at(point.name)
    steps = _steps(bundle)

    layouts = _layouts(bundle, config)
    lowered = {
        name: [_lower(config, step, layouts, predictors) for step in _steps(network)]
        for name, (network, predictors) in networks.items()
    }
    # What the program itself takes: headers, descriptors of each point, then the tables.
    tiles = {name: sum(len(layer.tiles) for layer in layers) for name, layers in lowered.items()}
    taken = len(networks) * HEADER_BYTES + sum(tiles.values()) * DESCRIPTOR_BYTES
    tables = _Tables(base + _aligned(taken))
    split = {name: [_split(tables, layer) for layer in layers] for name, layers in lowered.items()}
    allocator = Allocator(tables.end)
    counters = allocator.take(STORED_BYTES * max(tiles.values()))
    edges = allocator.take(
        max(edge_bytes(layer) for layers in lowered.values() for layer in layers)
    )
    tensors = _place(bundle, layouts, steps, allocator, keep=keep)
    if allocator.end > 1 << ADDRESS_BITS:
        raise UserError(
            f"the program ends at {allocator.end:#x}; the core reaches {1 << ADDRESS_BITS:#x}"
        )

    headers = b""
    descriptors = b""
    first = base + len(networks) * HEADER_BYTES
    for name, layers in lowered.items():
        header = {
            "magic": MAGIC,
            "version": VERSION,
            "lanes": config.lanes,
            "group": config.group,
            "tiles": tiles[name],
            "first": first + len(descriptors),
        }
        headers += pack_words(header_words(config), header, HEADER_BYTES)
        counted = counters
        for number, (step, layer) in enumerate(zip(steps, layers, strict=True)):
            for tile in layer.tiles:
                strip = tile.strip
                words = {
                    **engine_words(tile),
                    **ifm_words(layer, strip, tensors[step.input]),
                    **residual_words(step.conv, strip, tensors.get(step.residual)),
                    **ofm_words(layer, strip, tensors[step.output]),
                    **edge_words(layer, edges),
                    **split[name][number],
                    "opcode": OPCODE_TILE,
                    "layer": number,
                    "early": int(tile.early),
                    "counters": counted,
                }
                descriptors += pack_words(descriptor_words(config), words, DESCRIPTOR_BYTES)
                counted += STORED_BYTES
    return Program(
        config=config,
        network=bundle.manifest.name,
        base=base,
        image=(headers + descriptors).ljust(tables.base - base, b"\0") + tables.data,
        end=allocator.end,
        points=list(networks),
        counters=counters,
        layers=[
            ProgramLayer(
                name=step.name,
                input=step.input,
                residual=step.residual,
                output=step.output,
                tiles={name: len(layers[number].tiles) for name, layers in lowered.items()},
                macs=step.macs,
                ifm_words=max(layers[number].ifm_words for layers in lowered.values()),
                kernel_words=lowered[DENSE][number].tiles[0].fields["kernel_words"],
                pixels=max(
                    tile.fields["pixels"]
                    for layers in lowered.values()
                    for tile in layers[number].tiles
                ),
            )
            for number, step in enumerate(steps)
        ],
        tensors=tensors,
        input=bundle.manifest.input.tensor,
        output=bundle.manifest.output,
    )


def _steps(bundle: Bundle) -> list[_Step]:
    """The layers as the core runs them: a pooling with the convolution before it where it can."""
    manifest = bundle.manifest
    steps = []
    fused = set()
    for node in manifest.layers:
        if isinstance(node, ConvNode):
            pool = fused_pool(manifest, node)
            conv = bundle.conv(node)
            residual = "" if node.shortcut is None else node.shortcut.input
            output = node.output if pool is None else pool.output
            macs = conv.macs(*manifest.activations[node.input].shape[1:])
            steps.append(
                _Step(
                    node.name,
                    conv,
                    None if pool is None else bundle.pool(pool),
                    node.input,
                    residual,
                    output,
                    macs,
                )
            )
            if pool is not None:
                fused.add(pool.name)
        elif isinstance(node, PoolNode) and node.name not in fused:
            conv = _identity(bundle, node)
            steps.append(_Step(node.name, conv, bundle.pool(node), node.input, "", node.output, 0))
    return steps


def _identity(bundle: Bundle, node: PoolNode) -> Conv:
    """A convolution that hands its ifm on, for a pooling that cannot run with the layer before."""
    ifm = bundle.manifest.activations[node.input]
    channels = ifm.shape[0]
    return Conv(
        name=node.name,
        weight=torch.eye(channels, dtype=torch.int8).view(channels, channels, 1, 1),
        bias=torch.zeros(channels, dtype=torch.int32),
        multiplier=torch.full((channels,), 1 << 15, dtype=torch.int32),
        shift=torch.full((channels,), 15, dtype=torch.int32),
        signed_output=ifm.signed,
    )


def _layouts(bundle: Bundle, config: Config) -> dict[str, Place]:
    """How every tensor lies in memory, not yet where."""
    manifest = bundle.manifest
    parts: dict[str, tuple[int, ...]] = {}
    for node in manifest.layers:
        if isinstance(node, ConcatNode):
            parts[node.output] = tuple(
                channels
                for name in node.inputs
                for channels in parts.get(name, manifest.activations[name].shape[:1])
            )
    return {
        name: Place(0, activation.shape, config.group, activation.signed, parts.get(name, ()))
        for name, activation in manifest.activations.items()
    }


def _lower(
    config: Config,
    step: _Step,
    layouts: Mapping[str, Place],
    predictors: Mapping[str, Predictor],
) -> LoweredLayer:
    """A step as tiles. Slots of the ifm that hold no channel have weights of zero."""
    ifm = layouts[step.input]
    residual = layouts.get(step.residual)
    shortcut = step.conv.shortcut
    if shortcut is not None and shortcut.channel_offset % config.group:
        raise UserError(
            f"layer {step.name!r} adds a residual from channel {shortcut.channel_offset} on, "
            f"no multiple of group = {config.group} in configuration {config.name!r}"
        )
    if residual is not None and residual.slot_count > residual.shape[0]:
        raise UserError(
            f"layer {step.name!r} adds {step.residual!r}, concatenated of parts that are no "
            f"multiple of group = {config.group} channels in configuration {config.name!r}"
        )
    size = (ifm.slot_count, *ifm.shape[1:])
    if max(size) > MOST_SIZE:
        raise UserError(
            f"layer {step.name!r} reads {'x'.join(map(str, size))} (channels, height, width); "
            f"the core takes {MOST_SIZE} of each at most"
        )
    weight = step.conv.weight
    if ifm.slot_count > ifm.shape[0]:
        weight = weight.new_zeros(len(weight), ifm.slot_count, *step.conv.kernel)
        weight[:, ifm.slots] = step.conv.weight
    return lower_fastest(
        config,
        replace(step.conv, weight=weight),
        size,
        ifm_signed=ifm.signed,
        residual_signed=residual is not None and residual.signed,
        predictor=predictors.get(step.name),
        pool=step.pool,
    )


class _Tables:
    """Parameters and weights, each different one once."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.data = bytearray()
        self._known: dict[bytes, int] = {}

    @property
    def end(self) -> int:
        return self.base + len(self.data)

    def add(self, table: np.ndarray) -> int:
        """The address of a table."""
        text = table.tobytes()
        if text not in self._known:
            self._known[text] = self.end
            self.data += text.ljust(_aligned(len(text)), b"\0")
        return self._known[text]


def _split(tables: _Tables, layer: LoweredLayer) -> dict[str, int]:
    """Records and weights apart, so that operating points share the weights."""
    headers = record_words(layer.config)
    records = layer.records.reshape(len(layer.conv.weight), -1, layer.config.lanes)
    return {
        "parameters": tables.add(records[:, :headers]),
        "weights": tables.add(records[:, headers:]),
    }


def _place(
    bundle: Bundle,
    layouts: Mapping[str, Place],
    steps: list[_Step],
    allocator: Allocator,
    *,
    keep: bool,
) -> dict[str, Place]:
    """Memory for every tensor, from the step that writes it to the last that reads it.

    Tensors that are concatenated are written side by side in the first place.
    """
    manifest = bundle.manifest
    parents = _concatenated(bundle, layouts)
    places: dict[str, Place] = {}

    def whole(name: str) -> str:
        """The tensor that a tensor is part of in the end."""
        return whole(parents[name][0]) if name in parents else name

    def allocate(name: str) -> None:
        places[name] = replace(layouts[name], address=allocator.take(layouts[name].size))

    allocate(manifest.input.tensor)
    held = {manifest.input.tensor}
    for number, step in enumerate(steps):
        target = whole(step.output)
        if target not in held:
            allocate(target)
            held.add(target)
        later = steps[number + 1 :]
        needed = {manifest.output, *(name for s in later for name in (s.input, s.output))}
        needed |= {s.residual for s in later if s.residual}
        for name in sorted(held - {whole(name) for name in needed}):
            if not keep:
                allocator.free(places[name].address)
            held.remove(name)

    def complete(name: str) -> Place:
        if name not in places:
            parent, first = parents[name]
            address = complete(parent).address + first * layouts[parent].plane_bytes
            places[name] = replace(layouts[name], address=address)
        return places[name]

    for name in parents:
        complete(name)
    return places


def _concatenated(bundle: Bundle, layouts: Mapping[str, Place]) -> dict[str, tuple[str, int]]:
    """Of each tensor that is concatenated, with what it becomes and its first plane there."""
    manifest = bundle.manifest
    parents: dict[str, tuple[str, int]] = {}
    for node in manifest.layers:
        if not isinstance(node, ConcatNode):
            continue
        plane = 0
        for name in node.inputs:
            if name in parents or name == manifest.input.tensor:
                raise UserError(
                    f"layer {node.name!r} concatenates {name!r}, which lies elsewhere already; "
                    "a tensor can be part of one concatenation, and the network's input of none"
                )
            parents[name] = node.output, plane
            plane += layouts[name].planes
    return parents


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
