"""A walk goes through nodes in order and holds a tensor as long as a later node reads it."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass

import pytest

from golden.node_walk import NodeWalk


@dataclass(frozen=True)
class Node:
    reads: list[str]
    output: str


class Tensor:
    """Something that can be watched being freed."""

    def __init__(self, text: str) -> None:
        self.text = text


NODES = [
    Node(["input"], "a"),
    Node(["a"], "b"),
    Node(["a", "b"], "c"),
    Node(["c"], "unread"),
    Node(["b", "input"], "d"),
]


def test_each_node_gets_what_it_reads_and_the_output_is_kept() -> None:
    walk: NodeWalk[Node, str] = NodeWalk(NODES, {"input": "x"}, "c")
    seen = []
    for node, operands in walk:
        seen.append((node.output, operands))
        walk.store(f"{node.output}({','.join(operands)})")
    assert seen == [
        ("a", ["x"]),
        ("b", ["a(x)"]),
        ("c", ["a(x)", "b(a(x))"]),
        ("unread", ["c(a(x),b(a(x)))"]),
        ("d", ["b(a(x))", "x"]),
    ]
    assert walk.result == "c(a(x),b(a(x)))"


def test_a_tensor_is_freed_after_the_last_node_that_reads_it() -> None:
    watched: dict[str, weakref.ref[Tensor]] = {}

    def tensor(name: str) -> Tensor:
        made = Tensor(name)
        watched[name] = weakref.ref(made)
        return made

    walk: NodeWalk[Node, Tensor] = NodeWalk(NODES, {"input": tensor("input")}, "c")
    live = []
    for node, operands in walk:
        walk.store(tensor(node.output))
        operands.clear()
        gc.collect()
        live.append("".join(sorted(name[0] for name, kept in watched.items() if kept())))
    assert live == ["ai", "abi", "bci", "bci", "c"]


def test_a_node_that_reads_what_was_not_stored_fails() -> None:
    with pytest.raises(KeyError, match="a"):
        for _ in NodeWalk[Node, str](NODES, {"input": "x"}, "c"):
            pass
