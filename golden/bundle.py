"""A bundle: a quantised network on disk. Quantisation writes it and everything else reads it.

It is a folder with `manifest.json` (`golden.manifest`) and `tensors.safetensors`. Loading checks
every field and tensor, so that the rest of the project may trust what it gets.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from golden import arithmetic
from golden.bundle_check import check
from golden.checksums import CHECKSUM_FIELDS, check_checksums, with_checksums
from golden.errors import UserError
from golden.files import FolderKind
from golden.layers import Conv, Pool, Predictor, Shortcut
from golden.manifest import (
    CHECKED_VERSION,
    MANIFEST,
    READABLE_VERSIONS,
    TENSORS,
    ConvNode,
    Manifest,
    OperatingPoint,
    PoolNode,
)
from golden.pattern import Pattern
from golden.reading import parse_json, read_bytes, read_json

__all__ = ["MANIFEST", "TENSORS", "Bundle", "check", "check_replaceable"]


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
        named = {name: self.tensors[name].contiguous() for name in sorted(self.tensors)}
        tensors = safetensors.torch.save(named)
        manifest = with_checksums(self.manifest.model_dump_json(indent=2) + "\n", tensors)
        _FOLDER.write(path, {MANIFEST: manifest, TENSORS: tensors})

    @classmethod
    def load(cls, path: Path) -> Bundle:
        """Read and check a bundle. Raises UserError naming the file and field at fault."""
        path = Path(path)
        text = read_bytes(path / MANIFEST, _REMEDY)
        document = _document(text, path / MANIFEST)
        content = read_bytes(path / TENSORS, _REMEDY)
        tensors = _tensors(content, path / TENSORS)
        if document["schema_version"] >= CHECKED_VERSION:
            check_checksums(
                path / MANIFEST, text, path / TENSORS, content, "export the bundle again"
            )
        bundle = cls(_manifest(document, path / MANIFEST), tensors)
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
            dilation=node.dilation,
            groups=node.groups,
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
    document = read_json(path / MANIFEST)
    if isinstance(document, dict) and document.get("schema_version") in READABLE_VERSIONS:
        _manifest(document, path / MANIFEST)
        return True
    required = {name for name, field in Manifest.model_fields.items() if field.is_required()}
    return (
        isinstance(document, dict)
        and isinstance(document.get("schema_version"), int)
        and required <= document.keys()
    )


_REMEDY = "write a bundle with quant/export.py"
_FOLDER = FolderKind(name="bundle", files=(MANIFEST, TENSORS), is_ours=_is_bundle)


def _document(text: bytes, file: Path) -> dict[str, Any]:
    """Parse a manifest's text. Raises UserError if it is of a version that is not read."""
    document = parse_json(text, file)
    version = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(version, bool) or version not in READABLE_VERSIONS:
        *others, last = map(str, READABLE_VERSIONS)
        raise UserError(
            f"{file}: schema_version is {version!r}, this program reads {', '.join(others)} and "
            f"{last}; export the bundle again"
        )
    return document


def _manifest(document: dict[str, Any], file: Path) -> Manifest:
    """Validate a manifest; its checksums are no part of the result."""
    if document["schema_version"] >= CHECKED_VERSION:
        document = {name: document[name] for name in document if name not in CHECKSUM_FIELDS}
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{file}: {field}: {first['msg']}") from None


def _tensors(content: bytes, file: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(content)
    except (SafetensorError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise UserError(f"{file}: damaged or truncated: {error}; export it again") from None
