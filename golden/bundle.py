"""A bundle: a quantised network on disk. Quantisation writes it and everything else reads it.

It is a folder with `manifest.json` (`golden.manifest`) and `tensors.safetensors`. Loading checks
every field and tensor, so that the rest of the project may trust what it gets.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from golden import arithmetic
from golden.errors import UserError
from golden.files import FolderKind
from golden.layers import Conv, Pool, Predictor, Shortcut
from golden.manifest import (
    SCHEMA_VERSION,
    ConcatNode,
    ConvNode,
    Manifest,
    OperatingPoint,
    PoolNode,
)
from golden.pattern import Pattern

__all__ = ["MANIFEST", "TENSORS", "Bundle", "check", "check_replaceable"]

MANIFEST = "manifest.json"
TENSORS = "tensors.safetensors"
_REQUANTISATION = {
    "multiplier": (0, (1 << arithmetic.MULTIPLIER_BITS) - 1),
    "shift": (arithmetic.SHIFT_MIN, arithmetic.SHIFT_MAX),
}
"""Fields of a layer, and of its shortcut under the same endings, with their ranges."""


@dataclass(frozen=True)
class Bundle:
    """A checked network: its manifest and its tensors by name."""

    manifest: Manifest
    tensors: dict[str, Tensor]

    def save(self, path: Path) -> None:
        """Write the folder whole, replacing an older bundle and nothing else.

        Raises UserError where the bundle is not valid, or as `check_replaceable` does.
        """
        check(self, path)
        tensors = {name: self.tensors[name].contiguous() for name in sorted(self.tensors)}
        _FOLDER.write(
            path,
            {
                MANIFEST: self.manifest.model_dump_json(indent=2) + "\n",
                TENSORS: safetensors.torch.save(tensors),
            },
        )

    @classmethod
    def load(cls, path: Path) -> Bundle:
        """Read and check a bundle. Raises UserError naming the file and field at fault."""
        path = Path(path)
        manifest = _read_manifest(path / MANIFEST)
        tensors = _read_tensors(path / TENSORS)
        bundle = cls(manifest, tensors)
        check(bundle, path)
        return bundle

    def conv(self, node: ConvNode) -> Conv:
        """The layer of a node, with its tensors."""
        shortcut = None
        if node.shortcut is not None:
            shortcut = Shortcut(
                multiplier=self.tensors[f"layers.{node.name}.shortcut_multiplier"],
                shift=self.tensors[f"layers.{node.name}.shortcut_shift"],
                stride=node.shortcut.stride,
                channel_offset=node.shortcut.channel_offset,
            )
        return Conv(
            name=node.name,
            weight=self.tensors[f"layers.{node.name}.weight"],
            bias=self.tensors[f"layers.{node.name}.bias"],
            multiplier=self.tensors[f"layers.{node.name}.multiplier"],
            shift=self.tensors[f"layers.{node.name}.shift"],
            stride=node.stride,
            padding=node.padding,
            signed_output=self.manifest.activations[node.output].signed,
            shortcut=shortcut,
        )

    def pool(self, node: PoolNode) -> Pool:
        """The layer of a node."""
        average = None
        if node.op == "average_pool":
            assert node.multiplier is not None
            assert node.shift is not None
            average = (node.multiplier, node.shift)
        return Pool(
            name=node.name,
            kernel=node.kernel,
            stride=node.stride,
            padding=node.padding,
            average=average,
            signed=self.manifest.activations[node.output].signed,
        )

    def predictor(self, name: str, threshold: Tensor) -> Predictor:
        """The predictor of that name with a threshold table."""
        return Predictor(
            pattern=Pattern.parse(self.manifest.predictors[name].pattern),
            weight1=self.tensors[f"predictors.{name}.weight1"],
            bias1=self.tensors[f"predictors.{name}.bias1"],
            shift1=self.tensors[f"predictors.{name}.shift1"],
            weight2=self.tensors[f"predictors.{name}.weight2"],
            threshold=threshold,
        )

    def threshold(self, name: str, sigma: float | np.ndarray) -> Tensor:
        """The integer threshold table of predictor `name`; `sigma` is real, or one per channel."""
        table = arithmetic.threshold(
            sigma,
            self.tensors[f"predictors.{name}.score_scale"].numpy(),
            self.tensors[f"predictors.{name}.score_offset"].numpy(),
        )
        return torch.from_numpy(table)

    def operating_point(self, name: str) -> OperatingPoint:
        """The operating point of that name. Raises UserError where there is none."""
        for point in self.manifest.operating_points:
            if point.name == name:
                return point
        names = ", ".join(point.name for point in self.manifest.operating_points) or "none"
        raise UserError(f"no operating point {name!r} in this bundle; it has: {names}")

    def at(self, name: str) -> tuple[Bundle, dict[str, Predictor]]:
        """The network of an operating point, and the predictors that its layers run with.

        Layers without an entry run without a predictor. Raises UserError where there is no such
        operating point.
        """
        point = self.operating_point(name)
        own = {
            f"layers.{layer}.{field}": self.tensors[f"operating_points.{name}.{layer}.{field}"]
            for layer, fields in point.adapted.items()
            for field in fields
        }
        predictors = {
            layer: self.predictor(
                choice.predictor, self.tensors[f"operating_points.{name}.{layer}.threshold"]
            )
            for layer, choice in point.layers.items()
        }
        return Bundle(self.manifest, self.tensors | own), predictors

    def uniform(self, pattern: Pattern, sigma: float) -> dict[str, Predictor]:
        """Every predictor that was trained for `pattern`, all with one threshold `sigma`."""
        return {
            node.layer: self.predictor(name, self.threshold(name, sigma))
            for name, node in self.manifest.predictors.items()
            if Pattern.parse(node.pattern) == pattern
        }


def check_replaceable(path: Path) -> None:
    """Raise UserError unless a bundle can be written to this folder.

    A command calls it before long work. A folder that exists must be a bundle, of any version, and
    hold nothing else.
    """
    _FOLDER.check_replaceable(path)


def _is_bundle(path: Path) -> bool:
    """Say whether a folder's two files parse as a bundle's. Its version may be another one."""
    try:
        with safe_open(path / TENSORS, "pt"):  # checks the header and the file's size
            pass
    except SafetensorError:
        return False
    document = json.loads((path / MANIFEST).read_text())
    if isinstance(document, dict) and document.get("schema_version") == SCHEMA_VERSION:
        Manifest.model_validate(document)
        return True
    required = {name for name, field in Manifest.model_fields.items() if field.is_required()}
    return (
        isinstance(document, dict)
        and isinstance(document.get("schema_version"), int)
        and required <= document.keys()
    )


_FOLDER = FolderKind(name="bundle", files=(MANIFEST, TENSORS), is_ours=_is_bundle)


def _read_manifest(file: Path) -> Manifest:
    try:
        document = json.loads(file.read_text())
    except FileNotFoundError:
        raise UserError(f"{file}: not found; write a bundle with quant/export.py") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{file}: not readable as JSON: {error}") from None
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{file}: schema_version is {version!r}, this program reads {SCHEMA_VERSION}; "
            "export the bundle again"
        )
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{file}: {field}: {first['msg']}") from None


def _read_tensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except FileNotFoundError:
        raise UserError(f"{file}: not found; write a bundle with quant/export.py") from None
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file}: damaged or truncated: {error}; export it again") from None


def check(bundle: Bundle, path: Path) -> None:
    """Raise UserError unless every tensor and reference of the bundle fits its graph."""
    _Checker(bundle, Path(path)).run()


class _Checker:
    """Goes through the graph once, in order, and claims the tensors that it needs.

    A tensor that nothing has claimed in the end is an error.
    """

    def __init__(self, bundle: Bundle, path: Path) -> None:
        self.manifest = bundle.manifest
        self.tensors = bundle.tensors
        self.path = path
        self.claimed: set[str] = set()

    def run(self) -> None:
        manifest = self.manifest
        self._require(
            manifest.input.tensor in manifest.activations, "input.tensor", "is no activation"
        )
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
            else:
                shape = self._concat(node, where)
            declared = manifest.activations[node.output].shape
            self._require(
                shape == declared,
                where,
                f"makes shape {shape}, {node.output!r} declares {declared}",
            )
        for name in manifest.activations:
            self._require(name in known, f"activations.{name}", "is written by no layer")
        self._require(manifest.output in known, "output", "is no activation")
        wanted = (len(manifest.classes), 1, 1)
        self._require(
            manifest.activations[manifest.output].shape == wanted,
            "output",
            f"must have shape {wanted}, one channel for each class",
        )

    def _conv(self, node: ConvNode) -> tuple[int, int, int]:
        channels, height, width = self.manifest.activations[node.input].shape
        prefix = f"layers.{node.name}."
        weight = self._tensor(f"{prefix}weight", torch.int8, (None, channels, None, None))
        out_channels = weight.shape[0]
        self._tensor(f"{prefix}bias", torch.int32, (out_channels,))
        self._requantisation(prefix, out_channels)
        if node.shortcut is not None:
            self._requantisation(f"{prefix}shortcut_", out_channels)
        size = Bundle(self.manifest, self.tensors).conv(node).output_size(height, width)
        where = f"layers.{node.name}"
        self._require(min(size) >= 1, where, "the kernel does not fit into its padded input")
        fits = all(pad < k for pad, k in zip(node.padding, weight.shape[2:], strict=True))
        self._require(fits, where, "padding must be smaller than the kernel")
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
        size = Bundle(self.manifest, self.tensors).pool(node).output_size(height, width)
        self._require(min(size) >= 1, where, "the window does not fit into its padded input")
        fits = all(2 * pad <= k for pad, k in zip(node.padding, node.kernel, strict=True))
        self._require(fits, where, "padding must be at most half the window")
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
            self._require(point.name not in seen, field, "has the name of another point")
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
