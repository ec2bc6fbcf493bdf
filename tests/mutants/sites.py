"""Runtime of the planted defects: what the rewritten sources of `hw` call in place of operators.

`tests.mutants.rewrite` turns `a & b` into `sites.binary(7, "&", a, b)`. Where the result is no
value of Amaranth, as in sums of a configuration's integers, nothing can be planted and the result
is returned as it is. Otherwise the site is recorded as reached. If one of its defects is planted,
the result becomes a multiplexer between the defective value and the right one. `MUTANT`, a signal
that the test bench drives, selects the defective one. With `ALONE` set there is no such signal: the
defect of that identity simply replaces the right value.

Both inputs of the multiplexer have the same shape, so that the circuit around it stays the same.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from amaranth import Cat, Const, Mux, Signal, Value

__all__ = [
    "ALONE",
    "DEFECTS",
    "MUTANT",
    "MUTANT_BITS",
    "PLANTED",
    "REACHED",
    "Site",
    "add_site",
    "assigned",
    "binary",
    "compared",
    "condition",
    "inverted",
    "muxed",
    "part",
    "proceeds",
    "reduced",
]

MUTANT_BITS = 16
MUTANT = Signal(MUTANT_BITS, name="mutant")
"""Number of the defect that is switched on; 0 where none is."""

PLANTED: dict[str, int] = {}
"""Identity -> number of the defects that are built in beside the right circuit."""

ALONE: list[str] = []
"""Identity of the defect that replaces the right circuit; at most one."""

REACHED: dict[str, None] = {}
"""Identities of the defects that could be planted in what was elaborated, in their order."""


@dataclass(frozen=True)
class Site:
    """An expression or statement of `hw`.

    Parameters
    ----------
    identity : str
        File, function and source text, and a number where the function has that text repeatedly.
    """

    identity: str


_SITES: list[Site] = []

_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
}
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

Change = Callable[..., Any]

DEFECTS: dict[str, dict[str, Change]] = {
    "+": {"becomes -": operator.sub, "one more": lambda a, b: a + b + 1},
    "-": {"operands swapped": lambda a, b: b - a, "one less": lambda a, b: a - b - 1},
    "*": {"drops the factor": lambda a, b: a},
    "&": {"drops the right": lambda a, b: a, "drops the left": lambda a, b: b},
    "|": {"drops the right": lambda a, b: a, "drops the left": lambda a, b: b},
    "^": {"becomes |": operator.or_},
    "<<": {"one bit less": lambda a, b: (a << b) >> 1, "not shifted": lambda a, b: a},
    ">>": {"not shifted": lambda a, b: a},
    "==": {
        "off by one": lambda a, b: a == b + 1,
        "becomes >=": operator.ge,
        "becomes <=": operator.le,
    },
    "!=": {"off by one": lambda a, b: a != b + 1, "becomes >": operator.gt},
    "== 0": {"off by one": lambda a, b: a == b + 1, "becomes >=": operator.ge},
    "!= 0": {"off by one": lambda a, b: a != b + 1},
    "<": {"becomes <=": operator.le, "off by one": lambda a, b: a + 1 < b},
    "<=": {"becomes <": operator.lt, "off by one": lambda a, b: a <= b + 1},
    ">": {"becomes >=": operator.ge, "off by one": lambda a, b: a > b + 1},
    ">=": {"becomes >": operator.gt, "off by one": lambda a, b: a + 1 >= b},
    "~": {"not inverted": lambda a: a},
    "Mux": {
        "always the first": lambda c, a, b: a,
        "always the second": lambda c, a, b: b,
    },
    "[]": {"slice one bit off": lambda base, key: _beside(base, key)},
    "any": {"becomes all": lambda base: base.all()},
    "all": {"becomes any": lambda base: base.any()},
    "if": {"always": lambda c: Const(1), "never": lambda c: Const(0)},
    "constant": {"another constant": lambda value, width: _other(value, width)},
    "sync": {"not assigned": lambda target: target},
    "next": {"stays in its state": lambda: None},
}
"""Kind of a site -> description of a defect -> the defective value from the operands."""


def add_site(identity: str) -> int:
    """Register a site; returns its number."""
    _SITES.append(Site(identity))
    return len(_SITES) - 1


def _chosen(site: int, kind: str) -> list[tuple[str, Change]]:
    """The identities and changes of the site's defects that are planted; records all of them."""
    chosen = []
    for text, change in DEFECTS.get(kind, {}).items():
        identity = f"{_SITES[site].identity} {text}"
        REACHED[identity] = None
        if identity in PLANTED or identity in ALONE:
            chosen.append((identity, change))
    return chosen


def _select(identity: str, wrong: Any, right: Value) -> Value:
    """The wrong value where this defect is switched on; it has the shape of the right one."""
    shape = right.shape()
    fitted = Value.cast(wrong)
    if missing := max(shape.width - len(fitted), 0):
        extension = fitted[-1].replicate(missing) if fitted.shape().signed else Const(0, missing)
        fitted = Cat(fitted, extension)
    fitted = fitted[: shape.width]
    if shape.signed:
        fitted = fitted.as_signed()
    if identity in ALONE:
        return fitted
    return Mux(PLANTED[identity] == MUTANT, fitted, right)


def _plant(site: int, kind: str, right: Any, *operands: Any) -> Any:
    if not isinstance(right, Value) or isinstance(right, Const) or not len(right):
        return right
    for identity, change in _chosen(site, kind):
        wrong = change(*operands)
        if wrong is not None:
            right = _select(identity, wrong, right)
    return right


def binary(site: int, kind: str, a: Any, b: Any) -> Any:
    """A binary operator."""
    return _plant(site, kind, _BINARY[kind](a, b), a, b)


def compared(site: int, kind: str, a: Any, b: Any) -> Any:
    """A comparison. With 0, `==` and `<=` are the same for an unsigned value, and `!=` and `>`."""
    right = _COMPARISONS[kind](a, b)
    if kind in ("==", "!=") and isinstance(b, int) and b == 0 and not _is_signed(a):
        return _plant(site, f"{kind} 0", right, a, b)
    return _plant(site, kind, right, a, b)


def _is_signed(value: Any) -> bool:
    return isinstance(value, Value) and value.shape().signed


def inverted(site: int, a: Any) -> Any:
    """A bitwise complement."""
    return _plant(site, "~", ~a, a)


def muxed(site: int, c: Any, a: Any, b: Any) -> Any:
    """A multiplexer."""
    right = Mux(c, a, b)
    return _plant(site, "Mux", right, c, a, b)


def part(site: int, base: Any, key: Any) -> Any:
    """A slice or a bit; a layout's field or a list's element stays as it is."""
    right = base[key]
    if isinstance(base, Value) and _beside(base, key) is not None:
        return _plant(site, "[]", right, base, key)
    return right


def _beside(base: Any, key: Any) -> Value | None:
    """As many bits, one further up, or one further down at the upper end."""
    if isinstance(key, slice):
        if key.step not in (None, 1):
            return None
        start, stop, _ = key.indices(len(base))
    else:
        start = key if key >= 0 else key + len(base)
        stop = start + 1
    if start >= stop or stop - start == len(base):
        return None
    move = 1 if stop < len(base) else -1
    return base[start + move : stop + move]


def reduced(site: int, kind: str, base: Any) -> Any:
    """`any` or `all`."""
    right = getattr(base, kind)()
    if isinstance(base, Value) and len(base) > 1:
        return _plant(site, kind, right, base)
    return right


def condition(site: int, c: Any) -> Any:
    """The condition of `m.If` or `m.Elif`."""
    if not isinstance(c, Value):
        return c
    return _plant(site, "if", c.bool() if len(c) != 1 else c, c)


def assigned(site: int, target: Any, value: Any, *, sync: bool) -> Any:
    """The value that is assigned; of a register where `sync`."""
    if not isinstance(target, Value):
        return value
    if isinstance(value, int):
        width = len(target)
        for identity, change in _chosen(site, "constant"):
            value = _select(identity, change(value, width), Const(value, target.shape()))
    if sync and isinstance(value, Value | int):
        for identity, _ in _chosen(site, "sync"):
            value = _select(identity, target, _fitted(value, target))
    return value


def _fitted(value: Any, target: Value) -> Value:
    """A value that is assigned, at its own width or that of a constant's target."""
    return Const(value, target.shape()) if isinstance(value, int) else value


def _other(value: int, width: int) -> int:
    return value ^ 1 if width == 1 else value + 1


def proceeds(site: int) -> Any:
    """A condition that holds unless the step to the next state is dropped."""
    right: Any = Const(1)
    for identity, _ in _chosen(site, "next"):
        right = Const(0) if identity in ALONE else PLANTED[identity] != MUTANT
    return right
