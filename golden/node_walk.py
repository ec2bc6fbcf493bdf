"""Goes through a network's nodes in order, holding only the tensors that are still needed.

What computes a node is the caller's: the golden model, a float network, batches on disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

__all__ = ["NodeWalk", "WalkableNode"]


class WalkableNode(Protocol):
    """A node that names the tensors that it reads and the one that it writes."""

    @property
    def reads(self) -> Sequence[str]: ...

    @property
    def output(self) -> str: ...


NodeT = TypeVar("NodeT", bound=WalkableNode)
TensorT = TypeVar("TensorT")


class NodeWalk(Generic[NodeT, TensorT]):
    """One run through a network's nodes. A tensor is dropped after the last node that reads it.

        walk = NodeWalk(manifest.layers, {manifest.input.tensor: images}, manifest.output)
        for node, operands in walk:
            walk.store(compute(node, operands))
        logits = walk.result

    Parameters
    ----------
    nodes : sequence of nodes, such as `Manifest.layers`
        In an order in which they can run.
    inputs : {name: tensor}
        The network's inputs. A tensor may be of any type.
    output : str
        The tensor that is kept to the end.
    """

    def __init__(self, nodes: Sequence[NodeT], inputs: Mapping[str, TensorT], output: str) -> None:
        self._nodes = nodes
        self._output = output
        self._tensors = dict(inputs)
        self._last_reader = {name: i for i, node in enumerate(nodes) for name in node.reads}
        self._index = 0

    def __iter__(self) -> Iterator[tuple[NodeT, list[TensorT]]]:
        """Each node with what it reads. The caller stores what it writes before the next one."""
        for index, node in enumerate(self._nodes):
            self._index = index
            yield node, [self._tensors[name] for name in node.reads]

    def store(self, tensor: TensorT) -> None:
        """Keep what the present node wrote, and drop what no later node reads."""
        self._tensors[self._nodes[self._index].output] = tensor
        for name in [name for name in self._tensors if self._is_dead(name)]:
            del self._tensors[name]

    def _is_dead(self, name: str) -> bool:
        return name != self._output and self._last_reader.get(name, -1) <= self._index

    @property
    def result(self) -> TensorT:
        """The network's output, once the node that writes it has run."""
        return self._tensors[self._output]
