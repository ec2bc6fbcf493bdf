"""An ONNX model as a module: onnxruntime runs it, and it brings its operations along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnx.inliner
import torch
from onnx import ModelProto, helper
from onnxruntime import InferenceSession
from torch import Tensor

from golden.errors import UserError
from golden.reading import check_readable
from quant.frontend.graph import Graph
from quant.frontend.imported import ImportedModule
from quant.frontend.lowering import lower_network
from quant.frontend.onnx import (  # noqa: F401  (they register handlers)
    pools,
    quantised,
    shapes,
    upsampling,
)
from quant.frontend.onnx.nodes import NodeImport
from quant.frontend.onnx.operators import reason
from quant.frontend.onnx.session import start_session
from quant.frontend.operations import Network

__all__ = ["OnnxModel", "refuse_invalid"]

_FIRST_OPSET = 9
_IMAGES = 2
"""The images that a model is imported with where it takes any number: more than one, so that an
image is told from a vector."""

_ROUNDING = 0.25
"""Largest difference of a QDQ model's results that is taken for rounding, as a share."""


class OnnxModel(ImportedModule):
    """The network of an ONNX file.

    It returns what the host goes on with: the logits, where the file ends in a softmax. Of a QDQ
    model this is the float graph behind it (`quant.frontend.onnx.quantised`).

    Parameters
    ----------
    file : Path
    shape : (channels, height, width) or None
        The size of the images; None takes it from the file.

    Raises UserError where the file cannot be read, or an operator has no counterpart.
    """

    def __init__(self, file: Path, shape: tuple[int, int, int] | None = None) -> None:
        super().__init__()
        self.file = file
        model = _load(file)
        self._input, sizes = _input(file, model)
        self._channels_last = _transposes(model, self._input)
        whole = _whole_shape(file, sizes, shape, channels_last=self._channels_last)
        self._images = whole[0] if isinstance(sizes[0], int) else None
        imported = NodeImport(
            model, self._input, whole, channels_last=self._channels_last, reason=reason
        )
        self._network = imported.run()
        self.shape = self._network.input_shape
        self._sources = imported.sources
        self._logits = imported.logits()
        self._model = _with_nodes(model, imported)
        self._quantised = model if imported.quantised else None
        self._session: InferenceSession | None = None
        self.eval()

    def network(self) -> Network:
        """Its operations; each call returns a copy that may be rewritten."""
        return self._network.copy()

    def lower(self) -> Graph:
        """The graph of layers that the hardware has; raises UserError where there is none."""
        return lower_network(self.network())

    def forward(self, images: Tensor) -> Tensor:
        """Run normalised images (n, channels, height, width) by onnxruntime."""
        if self._session is None:
            self._session = self._start([self._logits])
        return self._run(self._session, images)[0].to(images.device)

    def results(self, images: Tensor) -> list[Tensor]:
        """Return all that the file returns, what the host would compute of it included."""
        session = self._start([output.name for output in self._model.graph.output])
        return self._run(session, images)

    def tensors(self, images: Tensor) -> dict[str, Tensor]:
        """Return what onnxruntime computes for each operation of `network()`, by name."""
        operations = [o.name for o in self._network.operations if o.name in self._sources]
        session = self._start([self._sources[name] for name in operations])
        return dict(zip(operations, self._run(session, images)))

    def check(self, images: Tensor) -> None:
        """Raise UserError where a QDQ model is no mere rounding of the float graph behind it.

        Limits that the quantisation of an activation stands for, but for those of a ReLU and a
        ReLU6, would be lost with it.
        """
        if self._quantised is None:
            return
        session = self._start([self._logits], self._quantised)
        (rounded,) = self._run(session, images)
        expected = self(images).to(rounded)
        share = float((rounded - expected).norm() / expected.norm().clamp(min=1e-12))
        if share > _ROUNDING:
            raise UserError(
                f"{self.file}: its results differ by {100 * share:.0f} % from those of the float"
                " network behind it: import the model from before its quantisation"
            )

    def __getstate__(self) -> dict[str, Any]:
        """The state without the session, which can be neither copied nor pickled."""
        return {**self.__dict__, "_session": None}

    def _start(self, outputs: list[str], source: ModelProto | None = None) -> InferenceSession:
        model = ModelProto()
        model.CopyFrom(source or self._model)
        del model.graph.output[:]
        model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in outputs)
        try:
            return start_session(model)
        except Exception as error:  # its exceptions have no common base
            raise UserError(f"{self.file}: onnxruntime cannot load it: {error}") from None

    def _run(self, session: InferenceSession, images: Tensor) -> list[Tensor]:
        """The session's outputs; a file that takes a fixed number of images gets so many."""
        count = self._images or len(images)
        parts = []
        for start in range(0, len(images), count):
            some = images[start : start + count].float().cpu()
            some = torch.cat([some, some.new_zeros(count - len(some), *some.shape[1:])])
            if self._channels_last:
                some = some.permute(0, 2, 3, 1)
            feed = {self._input: some.contiguous().numpy()}
            try:
                parts.append(session.run(None, feed))
            except Exception as error:
                raise UserError(f"{self.file}: onnxruntime cannot run it: {error}") from None
        return [torch.from_numpy(_joined(values))[: len(images)] for values in zip(*parts)]


def stated_shape(file: Path) -> tuple[int | None, int | None, int | None]:
    """Return (channels, height, width) of the images that a file takes; None where it is open.

    Raises UserError where the file cannot be read.
    """
    model = _load(file)
    name, (_, *sizes) = _input(file, model)
    if _transposes(model, name):
        sizes = [sizes[2], *sizes[:2]]
    channels, height, width = sizes
    return channels, height, width


def _joined(values: tuple[Any, ...]) -> Any:
    return torch.cat([torch.from_numpy(value) for value in values]).numpy()


def refuse_invalid(file: Path) -> None:
    """Raise UserError if a file's model breaks the rules of ONNX, or its shapes do."""
    try:
        onnx.checker.check_model(file, full_check=True)
    except Exception as error:  # they have no common base
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{file}: is no valid ONNX model: {reason}") from None


def _load(file: Path) -> ModelProto:
    check_readable(file)
    try:
        model = onnx.load(file)
    except Exception as error:  # protobuf's errors have no common base
        raise UserError(f"{file}: is no valid ONNX model: {str(error).splitlines()[0]}") from None
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if not versions or versions[0] < _FIRST_OPSET:
        raise UserError(
            f"{file}: its opset is {versions[0] if versions else 'not given'}, and zapcore reads"
            f" {_FIRST_OPSET} and newer: convert it by onnx.version_converter"
        )
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def _input(file: Path, model: ModelProto) -> tuple[str, list[int | None]]:
    """The name and sizes of the only input; a size is None where the file leaves it open."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise UserError(f"{file}: it has {len(inputs)} inputs; zapcore runs networks with one")
    tensor = inputs[0].type.tensor_type
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        raise UserError(f"{file}: its images are {kind}; save the model with float32")
    sizes = [dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim]
    if len(sizes) != 4:
        raise UserError(f"{file}: its input has {len(sizes)} axes; images have 4")
    return inputs[0].name, sizes


def _transposes(model: ModelProto, input_name: str) -> bool:
    """Return whether the graph begins by putting the channels of its images first."""
    passed = {input_name}
    for node in model.graph.node:
        if node.input and node.input[0] in passed:
            if node.op_type in ("Identity", "QuantizeLinear", "DequantizeLinear"):
                passed.add(node.output[0])
            elif node.op_type == "Transpose":
                return any(list(a.ints) == [0, 3, 1, 2] for a in node.attribute)
    return False


def _whole_shape(
    file: Path,
    sizes: list[int | None],
    shape: tuple[int, int, int] | None,
    *,
    channels_last: bool,
) -> tuple[int, ...]:
    """The input's shape, images included, from the file and from what the caller knows."""
    given: list[int | None] = [None] * 3 if shape is None else list(shape)
    if channels_last:
        given = [*given[1:], given[0]]
    if any(a and b and a != b for a, b in zip(sizes[1:], given)):
        own = "x".join(str(size or "?") for size in sizes[1:])
        raise UserError(f"{file}: it takes images of {own}, not {'x'.join(map(str, given))}")
    whole = [sizes[0] or _IMAGES, *(a or b for a, b in zip(sizes[1:], given))]
    if not all(whole):
        raise UserError(f"{file}: it leaves the size of its images open: give the size")
    return tuple(size for size in whole if size)


def _with_nodes(model: ModelProto, imported: NodeImport) -> ModelProto:
    """The model without the quantisation of activations."""
    result = ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.value_info[:]
    result.graph.node.extend(imported.float_nodes)
    return result
