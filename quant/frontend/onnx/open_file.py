"""Networks from ONNX files, where the packages `onnx` and `onnxruntime` are installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from golden.errors import UserError

if TYPE_CHECKING:
    from quant.frontend.onnx.model import OnnxModel

__all__ = ["import_onnx"]


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
    try:
        from quant.frontend.onnx.model import OnnxModel, refuse_invalid
    except ModuleNotFoundError as error:
        raise UserError(
            f"reading {file} needs the package {error.name}: pip install zapcore[onnx]"
        ) from None
    try:
        return OnnxModel(file, shape)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        # A model that breaks the rules of ONNX can fail anywhere, and ONNX's own check says why.
        refuse_invalid(file)
        raise
