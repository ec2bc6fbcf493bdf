"""Reads pickles of dicts, lists, strings, numbers and arrays of integers, and executes nothing.

Python's unpickler calls what a file names. This one interprets only the instructions that such data
needs, and makes arrays by itself: a file can neither run code, nor crash numpy by an array whose
parts contradict each other, nor take more memory than a few times its size.
"""

from __future__ import annotations

import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from golden.errors import UserError
from golden.reading import read_bytes

__all__ = ["PickledArray", "read_pickle"]

_TYPES = frozenset(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8))
_VALUES = (
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_FIXED_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()
_MOST_COPIES = 4
"""Arrays and strings that are made take so many times the file's size at most."""


def read_pickle(file: Path, remedy: str) -> Any:
    """Return what a pickle file holds; strings of Python 2 become bytes.

    Raises UserError if the file holds anything else, or is damaged. `remedy` is what to do where
    there is no such file.
    """
    content = read_bytes(file, remedy)
    try:
        return _Machine().run(content)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(f"{file}: not a readable pickle of arrays: {error}") from None


class _Name:
    """Something that a file names: a type or a function."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module.replace("numpy.core.", "numpy._core."), name


class _Type:
    """A type of integers, as the two steps of `numpy.dtype` describe it."""

    def __init__(self, code: Any) -> None:
        code = code.decode("latin-1") if isinstance(code, bytes) else code
        if code not in _TYPES:
            raise ValueError(f"holds an array of type {code!r}")
        self.dtype = np.dtype(code)

    def build(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode("latin-1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise ValueError("holds a type without byte order")
        self.dtype = self.dtype.newbyteorder(order)


class PickledArray:
    """An array, None until the file fills it."""

    value: np.ndarray | None = None

    def build(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, content = state
        self.value = _array(content, dtype, shape, "F" if fortran else "C")


class _Machine:
    """Interprets a pickle, with a stack and a memo as Python's unpickler has them."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.budget = 0

    def run(self, content: bytes) -> Any:
        self.budget = _MOST_COPIES * len(content)
        for opcode, argument, _ in pickletools.genops(content):
            self._step(opcode.name, argument)
        (result,) = self.stack
        return result

    def _step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _VALUES:
            stack.append(argument)
        elif name in ("SHORT_BINSTRING", "BINSTRING"):
            stack.append(argument.encode("latin-1"))
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if argument is None else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append([] if name == "EMPTY_LIST" else {})
        elif name in ("APPEND", "APPENDS"):
            items = self._marked() if name == "APPENDS" else [stack.pop()]
            _require(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._marked() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            for key, value in zip(items[::2], items[1::2], strict=True):
                _require(stack[-1], dict)[_require(key, (str, bytes))] = value
        elif name in _FIXED_TUPLES:
            count = _FIXED_TUPLES[name]
            items = [stack.pop() for _ in range(count)]
            stack.append(tuple(reversed(items)))
        elif name == "TUPLE":
            stack.append(tuple(self._marked()))
        elif name == "GLOBAL":
            stack.append(_Name(*argument.split(" ")))
        elif name == "STACK_GLOBAL":
            function, module = stack.pop(), stack.pop()
            stack.append(_Name(_require(module, str), _require(function, str)))
        elif name == "REDUCE":
            arguments = self._paid(stack.pop())
            stack.append(_call(_require(stack.pop(), _Name), arguments))
        elif name == "BUILD":
            state = self._paid(stack.pop())
            _require(stack[-1], (_Type, PickledArray)).build(state)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise ValueError(f"holds an instruction {name}")

    def _paid(self, arguments: Any) -> tuple[Any, ...]:
        """Return a call's arguments. Each call copies them, and a file may name them often."""
        strings = [part for part in _require(arguments, tuple) if hasattr(part, "__len__")]
        self.budget -= sum(map(len, strings))
        if self.budget < 0:
            raise ValueError("makes more of its content than a dataset does")
        return arguments

    def _marked(self) -> list[Any]:
        """Take everything from the last mark on."""
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]


def _call(function: _Name, arguments: tuple[Any, ...]) -> Any:
    """Do what one of the few functions would do that such files call."""
    name = f"{function.module}.{function.name}"
    if name == "_codecs.encode":
        text, encoding = arguments
        if encoding in ("latin1", b"latin1"):
            return _require(text, str).encode("latin-1")
    elif name == "numpy.dtype":
        return _Type(arguments[0])
    elif name == "numpy._core.multiarray._reconstruct":
        if getattr(arguments[0], "name", None) == "ndarray":
            return PickledArray()
    elif name == "numpy._core.numeric._frombuffer":
        content, dtype, shape, order = arguments
        array = PickledArray()
        array.value = _array(content, dtype, shape, order)
        return array
    raise ValueError(f"holds a {name}")


def _array(content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """Return an array of its bytes; their number must be that of the shape."""
    kind = _require(dtype, _Type).dtype
    sizes = [_require(size, int) for size in _require(shape, tuple)]
    flat = np.frombuffer(_require(content, (bytes, bytearray)), kind)
    if min(sizes, default=0) < 0 or order not in ("C", "F"):
        raise ValueError("holds an array of no possible shape")
    return flat.reshape(sizes, order=order).astype(kind.newbyteorder("="), order="C")


def _require(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"holds a {type(value).__name__} where none can be")
    return value
