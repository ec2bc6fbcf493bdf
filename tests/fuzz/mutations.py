"""Draws damaged or hostile variants of good inputs."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

__all__ = ["HOSTILE_TEXTS", "Draw", "damaged_bytes", "hostile_value", "mutated_document"]

Draw = st.DataObject

_NUMBERS = (
    *(0, 1, -1, 2, 3, 5, 7, 15, 16, 47, 48, 255, 256, 4095, 4096, 65535, 65536),
    *(2**31 - 1, 2**31, 2**32, 2**40, 2**63, 2**64, -(2**31), -(2**63), 10**400),
    *(0.0, -0.0, 0.5, 1.0, 1.5, 1e-300, 1e-12, 1e30, 1e308, float("inf"), float("-inf")),
)
HOSTILE_TEXTS = (
    *("", " ", "-", "--", "0", "-3", "nan", "inf", "1e999", "9" * 5000, "0x10", "1_0", "٣"),
    *("a", "conv", "[/x]", "[red]", "%s", "{}", "../../x", "/", ".", "~", "$(id)", "x" * 300),
    *("é", "\udcff", "a\nb", "a\tb", "\x1b[31m", "NaN", "None", "true", "=", "a=b", "A", "B"),
)
_OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], [0], [1, 1], {"a": 1}, [1] * 100)


def hostile_value(data: Draw) -> Any:
    """Draw a value that a JSON document may have anywhere."""
    kind = data.draw(st.integers(0, 3), label="kind")
    if kind == 0:
        return data.draw(st.sampled_from(HOSTILE_TEXTS), label="text")
    if kind == 1:
        return copy.deepcopy(data.draw(st.sampled_from(_OTHERS), label="value"))
    return data.draw(st.sampled_from(_NUMBERS), label="number")


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Name every container of a document, and a key in it."""
    keys = document if isinstance(document, dict) else range(len(document))
    for key in list(keys):
        yield document, key
        if isinstance(document[key], dict | list):
            yield from _places(document[key])


def mutated_document(data: Draw, document: Any) -> Any:
    """Draw a document that differs from a good one in one to three places."""
    document = copy.deepcopy(document)
    for _ in range(data.draw(st.integers(1, 3), label="places")):
        places = list(_places(document))
        if not places:
            break
        container, key = places[data.draw(st.integers(0, len(places) - 1), label="place")]
        action = data.draw(st.sampled_from(("set", "set", "set", "drop", "copy", "repeat")))
        if action == "set":
            container[key] = hostile_value(data)
        elif action == "drop":
            del container[key]
        elif action == "copy":
            source, name = places[data.draw(st.integers(0, len(places) - 1), label="source")]
            container[key] = copy.deepcopy(source[name])
        elif isinstance(container, list):
            count = data.draw(st.sampled_from((1, 2, 40)), label="count")
            container[key:key] = [copy.deepcopy(container[key]) for _ in range(count)]
    return document


def damaged_bytes(data: Draw, content: bytes) -> bytes:
    """Draw bytes that differ from good ones: flipped, cut, repeated, or overwritten."""
    result = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4), label="places")):
        # Most formats keep what matters at their two ends.
        end = data.draw(st.sampled_from((64, 512, len(result))), label="reach")
        at = data.draw(st.integers(0, max(min(end, len(result)) - 1, 0)), label="at")
        if data.draw(st.booleans(), label="from the end"):
            at = max(len(result) - 1 - at, 0)
        action = data.draw(st.sampled_from(("flip", "flip", "set", "cut", "insert", "repeat")))
        if action == "flip" and result:
            result[at] ^= 1 << data.draw(st.integers(0, 7), label="bit")
        elif action == "set":
            value = data.draw(st.sampled_from((b"\0", b"\xff" * 4, b"\x7f", b"\0" * 8, b"9" * 9)))
            result[at : at + len(value)] = value
        elif action == "cut":
            del result[at : at + data.draw(st.sampled_from((1, 16, len(result))), label="size")]
        elif action == "insert":
            result[at:at] = data.draw(st.binary(min_size=1, max_size=9), label="more")
        elif action == "repeat":
            result[at:at] = result[at : at + 64]
    return bytes(result)
