"""Files of trained ZAPs in float."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from golden.bundle import Bundle
from golden.errors import UserError
from golden.pattern import Pattern
from golden.reading import check_readable
from quant.runtime.outputs import write_tensors
from quant.zap.predictor import Site, Zap

__all__ = ["load_zaps", "save_zaps"]


def save_zaps(zaps: Mapping[Site, Zap], file: Path) -> None:
    """Write trained predictors in float, whole or not at all."""
    write_tensors(file, {site.name: zap.state_dict() for site, zap in zaps.items()})


def load_zaps(bundle: Bundle, file: Path) -> dict[Site, Zap]:
    """Load predictors that `save_zaps` wrote for this bundle's network, in eval mode.

    Raises UserError if the file does not hold them.
    """
    shapes = {n.name: bundle.manifest.activations[n.output].shape for n in bundle.manifest.layers}
    zaps = {}
    check_readable(file, "quant/export.py --save-zaps writes it")
    try:
        for name, state in torch.load(file, map_location="cpu", weights_only=True).items():
            layer, _, pattern = name.rpartition(".")
            zap = Zap(shapes[layer][0])
            zap.load_state_dict(state)
            zaps[Site(layer, Pattern.parse(pattern))] = zap.eval()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise UserError(f"{file}: holds no ZAPs of this network: {error}") from None
    return zaps
