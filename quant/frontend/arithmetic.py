"""Arithmetic with constants, the same for every format that networks are read from."""

from __future__ import annotations

from typing import Any, Protocol

from golden.errors import UserError
from quant.frontend.operations import Affine, per_channel

__all__ = ["affine"]


class _NodeImport(Protocol):
    """The import of a format, node after node."""

    def common(self, node: Any, operand: Any) -> dict[str, Any]: ...

    def refusal(self, node: Any, reason: str) -> UserError: ...


def affine(at: _NodeImport, node: Any, operand: Any, gain: Any, offset: Any) -> Affine:
    """Return `operand * gain + offset`.

    `gain` and `offset` are numbers, or tensors that are constant over each channel. Raises
    UserError, naming the node, where they are neither.
    """
    common = at.common(node, operand)
    try:
        gain, offset = (per_channel(value, common["shape"]) for value in (gain, offset))
    except ValueError as error:
        raise at.refusal(node, str(error)) from None
    return Affine(**common, gain=gain, offset=offset)
