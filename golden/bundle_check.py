"""Checks a bundle as a whole: what no single field of its manifest can show.

Every tensor that the graph needs exists with the right type, shape and range, no other tensor is
there, and shapes follow from the graph.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from golden import arithmetic
from golden.errors import UserError
from golden.manifest import (
    MANIFEST,
    MOST_ACTIVATIONS,
    TENSORS,
    ConcatNode,
    ConvNode,
    OperatingPoint,
    PoolNode,
    ReshapeNode,
)
from golden.pattern import Pattern

if TYPE_CHECKING:
    from golden.bundle import Bundle

__all__ = ["check"]

_REQUANTISATION = {
    "multiplier": (0, (1 << arithmetic.MULTIPLIER_BITS) - 1),
    "shift": (arithmetic.SHIFT_MIN, arithmetic.SHIFT_MAX),
}
"""Fields of a layer, and of its shortcut under the same endings, with their ranges."""


def check(bundle: Bundle, path: Path) -> None:
    """Raise UserError unless every tensor and reference of the bundle fits its graph."""
    _Checker(bundle, Path(path)).run()


class _Checker:
    """Goes through the graph once, in order, and claims the tensors that it needs.

    A tensor that nothing has claimed in the end is an error.
    """

    def __init__(self, bundle: Bundle, path: Path) -> None:
        self.bundle = bundle
        self.manifest = bundle.manifest
        self.tensors = bundle.tensors
        self.path = path
        self.claimed: set[str] = set()

    def run(self) -> None:
        manifest = self.manifest
        self._require(
            manifest.input.tensor in manifest.activations, "input.tensor", "is no activation"
        )
        for name, activation in manifest.activations.items():
            few = math.prod(activation.shape) <= MOST_ACTIVATIONS
            self._require(few, f"activations.{name}", f"has more than {MOST_ACTIVATIONS} elements")
        channels = manifest.activations[manifest.input.tensor].shape[0]
        for field in ("mean", "std"):
            length = len(getattr(manifest.input, field))
            self._require(length == channels, f"input.{field}", f"needs {channels} numbers")
        self._graph()
        self._predictors()
        self._operating_points()
        for name in sorted(self.tensors.keys() - self.claimed):
            raise UserError(f"{self.path / TENSORS}: {name}: belongs to nothing in {MANIFEST}")

    def _require(self, condition: bool, field: str, problem: str) -> None:
        if not condition:
            raise UserError(f"{self.path / MANIFEST}: {field}: {problem}")

    def _tensor(
        self,
        name: str,
        dtype: torch.dtype,
        shape: tuple[int | None, ...],
        limits: tuple[int, int] | None = None,
    ) -> Tensor:
        """Claim a tensor and check it; None in `shape` stands for any positive size."""
        where = f"{self.path / TENSORS}: {name}"
        tensor = self.tensors.get(name)
        if tensor is None:
            raise UserError(f"{where}: missing")
        if tensor.dtype != dtype:
            raise UserError(f"{where}: is {tensor.dtype}, must be {dtype}")
        fits = len(shape) == tensor.ndim and all(
            size > 0 and (want is None or want == size)
            for want, size in zip(shape, tensor.shape, strict=True)
        )
        if not fits:
            wanted = tuple("any" if want is None else want for want in shape)
            raise UserError(f"{where}: has shape {tuple(tensor.shape)}, must have {wanted}")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise UserError(f"{where}: contains NaN or infinity")
        if limits is not None:
            low, high = int(tensor.min()), int(tensor.max())
            if low < limits[0] or high > limits[1]:
                raise UserError(f"{where}: holds {low} .. {high}, must be in {limits}")
        self.claimed.add(name)
        return tensor

    def _requantisation(self, prefix: str, channels: int) -> None:
        for name, limits in _REQUANTISATION.items():
            self._tensor(f"{prefix}{name}", torch.int32, (channels,), limits)

    def _graph(self) -> None:
        manifest = self.manifest
        known = {manifest.input.tensor}
        names: set[str] = set()
        for index, node in enumerate(manifest.layers):
            where = f"layers.{index} ({node.name})"
            self._require(node.name not in names, where, "has the name of another layer")
            names.add(node.name)
            for tensor in node.reads:
                self._require(tensor in known, where, f"reads {tensor!r} before it is written")
            self._require(node.output in manifest.activations, where, "writes no known activation")
            self._require(node.output not in known, where, f"writes {node.output!r} twice")
            known.add(node.output)
            if isinstance(node, ConvNode):
                shape = self._conv(node)
            elif isinstance(node, PoolNode):
                shape = self._pool(node, where)
            elif isinstance(node, ConcatNode):
                shape = self._concat(node, where)
            else:
                shape = self._reshape(node, where)
            declared = manifest.activations[node.output].shape
            self._require(
                shape == declared,
                where,
                f"makes shape {shape}, {node.output!r} declares {declared}",
            )
        for name in manifest.activations:
            self._require(name in known, f"activations.{name}", "is written by no layer")
        written = manifest.output in known and manifest.output != manifest.input.tensor
        self._require(written, "output", "is written by no layer")
        for index, name in enumerate(manifest.other_outputs):
            written = name in known and name != manifest.input.tensor
            self._require(written, f"other_outputs.{index}", "is written by no layer")
        classes = len(manifest.classes)
        self._require(
            manifest.activations[manifest.output].shape[0] == classes,
            "output",
            f"must have {classes} channels, one for each class",
        )

    def _conv(self, node: ConvNode) -> tuple[int, int, int]:
        channels, height, width = self.manifest.activations[node.input].shape
        prefix = f"layers.{node.name}."
        fits = channels % node.groups == 0
        self._require(fits, f"layers.{node.name}.groups", f"is no divisor of {channels} channels")
        shape = None, channels // node.groups, None, None
        out_channels = self._tensor(f"{prefix}weight", torch.int8, shape).shape[0]
        fits = out_channels % node.groups == 0
        self._require(
            fits, f"layers.{node.name}.groups", f"is no divisor of its {out_channels} kernels"
        )
        self._tensor(f"{prefix}bias", torch.int32, (out_channels,))
        self._requantisation(prefix, out_channels)
        if node.shortcut is not None:
            self._requantisation(f"{prefix}shortcut_", out_channels)
        size = self.bundle.conv(node).output_size(height, width)
        where = f"layers.{node.name}"
        top, bottom, left, right = (min(side, 0) for side in node.padding)
        keeps = height + top + bottom >= 1 and width + left + right >= 1
        self._require(keeps, where, "its padding leaves out the whole of its input")
        self._require(min(size) >= 1, where, "the kernel does not fit into its padded input")
        if node.shortcut is not None:
            c, h, w = self.manifest.activations[node.shortcut.input].shape
            step = node.shortcut.stride
            reduced = (arithmetic.ceil_div(h, step), arithmetic.ceil_div(w, step))
            fits = reduced == size and c + node.shortcut.channel_offset <= out_channels
            self._require(fits, where, f"shortcut {node.shortcut.input!r} does not fit the ofm")
        return out_channels, *size

    def _pool(self, node: PoolNode, where: str) -> tuple[int, int, int]:
        channels, height, width = self.manifest.activations[node.input].shape
        is_average = node.op == "average_pool"
        for field in ("multiplier", "shift"):
            given = getattr(node, field) is not None
            self._require(given == is_average, f"{where}.{field}", "goes with average_pool alone")
        source, target = (self.manifest.activations[n] for n in (node.input, node.output))
        self._require(source.signed == target.signed, where, "changes the sign of its tensor")
        size = self.bundle.pool(node).output_size(height, width)
        self._require(min(size) >= 1, where, "the window does not fit into its padded input")
        top, _, left, _ = node.padding
        sides = zip((top, left), (height, width), node.kernel, node.stride, size, strict=True)
        fits = all(
            before < k and (count - 1) * step < before + extent
            for before, extent, k, step, count in sides
        )
        self._require(fits, where, "a window lies wholly in the padding")
        return channels, size[0], size[1]

    def _concat(self, node: ConcatNode, where: str) -> tuple[int, int, int]:
        target = self.manifest.activations[node.output]
        sources = [self.manifest.activations[name] for name in node.inputs]
        same = all((s.scale, s.signed) == (target.scale, target.signed) for s in sources)
        self._require(same, where, "its tensors differ in scale or sign")
        _, height, width = sources[0].shape
        same = all(source.shape[1:] == (height, width) for source in sources)
        self._require(same, where, "its tensors differ in height or width")
        return sum(source.shape[0] for source in sources), height, width

    def _reshape(self, node: ReshapeNode, where: str) -> tuple[int, int, int]:
        source, target = (self.manifest.activations[n] for n in (node.input, node.output))
        same = (source.scale, source.signed) == (target.scale, target.signed)
        self._require(same, where, "changes the scale or the sign of its tensor")
        channels, height, width = source.shape
        _, rows, columns = target.shape
        same = height * width == rows * columns
        self._require(same, where, f"makes {rows}x{columns} pixels of {height}x{width}")
        return channels, rows, columns

    def _predictors(self) -> None:
        convs = {node.name: node for node in self.manifest.layers if isinstance(node, ConvNode)}
        for name, predictor in self.manifest.predictors.items():
            field = f"predictors.{name}"
            self._require(predictor.layer in convs, field, f"no conv layer {predictor.layer!r}")
            try:
                Pattern.parse(predictor.pattern)
            except UserError as error:
                raise UserError(f"{self.path / MANIFEST}: {field}.pattern: {error}") from None
            output = self.manifest.activations[convs[predictor.layer].output]
            self._require(not output.signed, field, "its layer has no ReLU")
            channels = output.shape[0]
            for tensor in ("weight1", "weight2"):
                self._tensor(f"{field}.{tensor}", torch.int8, (channels, 3, 3))
            limits = arithmetic.signed_range(arithmetic.BIAS1_BITS)
            self._tensor(f"{field}.bias1", torch.int32, (channels,), limits)
            limits = (0, arithmetic.PREDICTOR_SHIFT_MAX)
            self._tensor(f"{field}.shift1", torch.int32, (channels,), limits)
            scale = self._tensor(f"{field}.score_scale", torch.float64, (channels,))
            if not bool((scale > 0).all()):
                raise UserError(f"{self.path / TENSORS}: {field}.score_scale: must be positive")
            self._tensor(f"{field}.score_offset", torch.float64, (channels,))

    def _operating_points(self) -> None:
        seen: set[str] = set()
        for index, point in enumerate(self.manifest.operating_points):
            field = f"operating_points.{index} ({point.name})"
            self._require(point.name not in seen, field, "has the name of another operating point")
            seen.add(point.name)
            for layer, choice in point.layers.items():
                predictor = self.manifest.predictors.get(choice.predictor)
                fits = predictor is not None and predictor.layer == layer
                self._require(fits, f"{field}.{layer}", f"no predictor {choice.predictor!r} for it")
                is_number = choice.sigma is None or choice.sigma == choice.sigma
                self._require(is_number, f"{field}.{layer}.sigma", "is NaN")
                name = f"predictors.{choice.predictor}.bias1"
                self._tensor(
                    f"operating_points.{point.name}.{layer}.threshold",
                    torch.int32,
                    tuple(self.tensors[name].shape),
                    arithmetic.signed_range(arithmetic.SCORE_BITS),
                )
            self._adapted(point, f"{field}.adapted")

    def _adapted(self, point: OperatingPoint, field: str) -> None:
        """Check that the tensors of adapted layers have the originals' types, shapes and ranges."""
        for layer, fields in point.adapted.items():
            for name in fields:
                base = f"layers.{layer}.{name}"
                self._require(base in self.claimed, f"{field}.{layer}", f"there is no {base}")
                limits = next(
                    (limits for end, limits in _REQUANTISATION.items() if name.endswith(end)), None
                )
                tensor = self.tensors[base]
                self._tensor(
                    f"operating_points.{point.name}.{layer}.{name}",
                    tensor.dtype,
                    tuple(tensor.shape),
                    limits,
                )
