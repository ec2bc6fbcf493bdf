"""Networks from ONNX files, where the packages `onnx` and `onnxruntime` are installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from golden.errors import UserError

if TYPE_CHECKING:
    from quant.frontend.onnx.model import OnnxModel

__all__ = ["import_onnx", "onnx_shape"]


def import_onnx(file: Path, shape: tuple[int, int, int] | None = None) -> OnnxModel:
    """Read the network of an ONNX file, opset 9 or newer.

    Parameters
    ----------
    file : Path
    shape : (channels, height, width) or None
        The size of the images, needed where the file leaves it open.

    Raises UserError where the packages are missing, the file cannot be read, or one of its nodes
    has no counterpart in hardware: then it names the node and the reason.
    """
    with _explained(file):
        from quant.frontend.onnx.model import OnnxModel

        return OnnxModel(file, shape)


def onnx_shape(file: Path) -> tuple[int | None, int | None, int | None]:
    """Return (channels, height, width) of an ONNX file's images; None where it leaves one open.

    Raises UserError where the packages are missing, or the file cannot be read.
    """
    with _explained(file):
        from quant.frontend.onnx.model import stated_shape

        return stated_shape(file)


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    """Turn errors about missing packages and broken files into a UserError."""
    try:
        from quant.frontend.onnx.model import refuse_invalid
    except ModuleNotFoundError as error:
        raise UserError(
            f"reading {file} needs the package {error.name}: pip install zapcore[onnx]"
        ) from None
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        # A model that breaks the rules of ONNX can fail anywhere, and ONNX's own check says why.
        refuse_invalid(file)
        raise
