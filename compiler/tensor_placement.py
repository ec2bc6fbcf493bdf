"""Gives every tensor of a network its place in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from compiler.lowering.steps import Step
from compiler.memory_layout import Allocator, Place
from golden.errors import UserError
from golden.manifest import ConcatNode, Manifest, ReshapeNode
from hw.contract.config import Config

__all__ = ["place_tensors", "tensor_layouts"]


def tensor_layouts(manifest: Manifest, config: Config, images: int = 1) -> dict[str, Place]:
    """The layout of every tensor of so many images in memory.

    Their addresses are not decided yet and are 0. Images lie one below the other.
    """
    parts: dict[str, tuple[int, ...]] = {}
    for node in manifest.layers:
        if isinstance(node, ConcatNode):
            parts[node.output] = tuple(
                channels
                for name in node.inputs
                for channels in parts.get(name, manifest.activations[name].shape[:1])
            )
        elif isinstance(node, ReshapeNode) and node.input in parts:
            parts[node.output] = parts[node.input]
    return {
        name: Place(
            0, activation.shape, config.group, activation.signed, parts.get(name, ()), images
        )
        for name, activation in manifest.activations.items()
    }


def place_tensors(
    manifest: Manifest,
    layouts: Mapping[str, Place],
    steps: Sequence[Step],
    allocator: Allocator,
    *,
    keep: bool,
    reuse_input: bool = False,
) -> dict[str, Place]:
    """Allocate every tensor, from the step that writes it to the last that reads it.

    Tensors that are concatenated are parts of the tensor that they become: each has its planes
    there, and no memory of its own. A reshaped tensor is where the one is that it was. With `keep`
    no memory is used twice. The input's memory is used again only with `reuse_input`.
    """
    originals = _originals(manifest)
    parents = _parents(manifest, layouts, originals)
    wholes = {name: _whole(originals[name], parents) for name in layouts}
    places = _place_wholes(
        manifest, layouts, steps, allocator, wholes, keep=keep, reuse_input=reuse_input
    )

    for name in [*parents, *(name for name in layouts if originals[name] != name)]:
        # A tensor lies in another, which may lie in a third one: a chain of any length.
        chain = []
        while name not in places:
            chain.append(name)
            name = originals[name] if originals[name] != name else parents[name][0]
        for inner in reversed(chain):
            first = 0
            if originals[inner] == inner:
                whole, plane = parents[inner]
                first = plane * layouts[whole].plane_bytes
            places[inner] = replace(layouts[inner], address=places[name].address + first)
            name = inner
    return places


def _place_wholes(
    manifest: Manifest,
    layouts: Mapping[str, Place],
    steps: Sequence[Step],
    allocator: Allocator,
    wholes: Mapping[str, str],
    *,
    keep: bool,
    reuse_input: bool,
) -> dict[str, Place]:
    """Places of the tensors that are no part of another."""
    places: dict[str, Place] = {}

    def allocate(name: str) -> None:
        places[name] = replace(layouts[name], address=allocator.take(layouts[name].size))

    allocate(manifest.input.tensor)
    held = {manifest.input.tensor}
    for number, step in enumerate(steps):
        target = wholes[step.output]
        if target not in held:
            allocate(target)
            held.add(target)
        later = steps[number + 1 :]
        needed = {*manifest.outputs, *(name for s in later for name in (s.input, s.output))}
        needed |= {s.residual for s in later if s.residual}
        if not reuse_input:
            needed.add(manifest.input.tensor)
        for name in sorted(held - {wholes[name] for name in needed}):
            if not keep:
                allocator.free(places[name].address)
            held.remove(name)
    return places


def _originals(manifest: Manifest) -> dict[str, str]:
    """For each tensor the one that is written to memory: itself, or what was reshaped into it."""
    originals = {name: name for name in manifest.activations}
    for node in manifest.layers:
        if isinstance(node, ReshapeNode):
            originals[node.output] = originals[node.input]
    return originals


def _parents(
    manifest: Manifest, layouts: Mapping[str, Place], originals: Mapping[str, str]
) -> dict[str, tuple[str, int]]:
    """For each tensor that is concatenated, the tensor it becomes part of and its first plane."""
    parents: dict[str, tuple[str, int]] = {}
    for node in manifest.layers:
        if not isinstance(node, ConcatNode):
            continue
        plane = 0
        for name in (originals[name] for name in node.inputs):
            if name in parents or name == manifest.input.tensor:
                raise UserError(
                    f"layer {node.name!r} concatenates {name!r}, which lies elsewhere already; "
                    "a tensor can be part of one concatenation, and the network's input of none"
                )
            parents[name] = node.output, plane
            plane += layouts[name].planes
    return parents


def _whole(name: str, parents: Mapping[str, tuple[str, int]]) -> str:
    """The tensor that a tensor is part of in the end; itself if it is part of none."""
    while name in parents:
        name, _ = parents[name]
    return name
