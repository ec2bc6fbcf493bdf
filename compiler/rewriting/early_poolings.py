"""Moves a pooling that follows a concatenation in front of it, into each of its parts.

A pooling works on each channel by itself, so it does not matter whether channels are concatenated
before or after it. The core pools an ofm as it leaves, where a convolution alone writes it; a
pooling of a concatenation would be a step by itself, that reads the whole map again. No number
changes.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

from compiler.rewriting.names import new_name
from golden.bundle import Bundle
from golden.manifest import Activation, ConcatNode, ConvNode, Manifest, Node, PoolNode

__all__ = ["with_early_poolings"]


def with_early_poolings(bundle: Bundle) -> Bundle:
    """Return the network with each such pooling in the parts of its concatenation.

    It is moved where every part is a convolution's, or a concatenation's of such parts, and where
    nothing else reads what is concatenated. What the network returns is the same; the tensor that
    was pooled is gone. Where nothing is moved, the result is the bundle itself.
    """
    manifest = bundle.manifest
    while (moved := _move_one(manifest)) is not manifest:
        manifest = moved
    return bundle if manifest is bundle.manifest else Bundle(manifest, bundle.tensors)


@dataclass(frozen=True)
class _Graph:
    """A manifest's tensors: the layer that writes each, and the layers that read it."""

    writers: Mapping[str, Node]
    readers: Mapping[str, list[Node]]
    outputs: Container[str]

    def only_reader(self, tensor: str) -> Node | None:
        """The layer that reads a tensor, if nothing else does and it is not returned."""
        readers = self.readers.get(tensor, [])
        return readers[0] if len(readers) == 1 and tensor not in self.outputs else None

    def pools_early(self, tensor: str) -> bool:
        """Say whether a tensor that is concatenated can be pooled as it is written."""
        writer = self.writers.get(tensor)
        if self.only_reader(tensor) is None:
            return False
        if isinstance(writer, ConcatNode):
            return all(map(self.pools_early, writer.inputs))
        return isinstance(writer, ConvNode)


def _move_one(manifest: Manifest) -> Manifest:
    """Move the first pooling that can be; the manifest itself where there is none."""
    readers: dict[str, list[Node]] = {}
    for node in manifest.layers:
        for tensor in node.reads:
            readers.setdefault(tensor, []).append(node)
    writers = {node.output: node for node in manifest.layers}
    graph = _Graph(writers, readers, manifest.outputs)
    for number, node in enumerate(manifest.layers):
        if isinstance(node, ConcatNode):
            pool = graph.only_reader(node.output)
            parts = len(set(node.inputs)) == len(node.inputs) and node.inputs
            if isinstance(pool, PoolNode) and parts and all(map(graph.pools_early, parts)):
                return _moved(manifest, number, node, pool)
    return manifest


def _moved(manifest: Manifest, number: int, concat: ConcatNode, pool: PoolNode) -> Manifest:
    """The network with a pooling in front of the concatenation of that number."""
    activations = dict(manifest.activations)
    pooled = activations[pool.output]
    del activations[concat.output]
    taken = {*activations, *(node.name for node in manifest.layers)}
    poolings: list[Node] = []
    for part in concat.inputs:
        name = new_name(f"{pool.name[:150]}:{len(poolings)}", taken)
        taken.add(name)
        channels, *_ = activations[part].shape
        shape = channels, *pooled.shape[1:]
        activations[name] = Activation(shape=shape, signed=pooled.signed, scale=pooled.scale)
        poolings.append(pool.model_copy(update={"name": name, "input": part, "output": name}))
    inputs = [node.output for node in poolings]
    joined = concat.model_copy(update={"inputs": inputs, "output": pool.output})
    before, after = manifest.layers[:number], manifest.layers[number + 1 :]
    layers = [*before, *poolings, joined, *(node for node in after if node is not pool)]
    return manifest.model_copy(update={"activations": activations, "layers": layers})
