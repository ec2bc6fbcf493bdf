"""The handwritten digits that come with scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from quant.data.images import DatasetSource, ImageSet

__all__ = ["digits"]

SIZE = 16
"""Height and width that the 8x8 digits are enlarged to."""
_TEST = 360
_SEED = 2020


def digits(directory: Path | None) -> DatasetSource:
    """Read the 1,797 digits, enlarged bilinearly. The test images are always the same."""
    del directory
    source = load_digits()
    levels = torch.from_numpy(source.images).to(torch.float32).unsqueeze(1) / 16
    size = (SIZE, SIZE)
    pixels = F.interpolate(levels, size, mode="bilinear", align_corners=False)
    images = (pixels * 255).round().to(torch.uint8)
    labels = torch.from_numpy(source.target).to(torch.int64)
    order = torch.from_numpy(np.random.default_rng(_SEED).permutation(len(labels)))
    test, train = order[:_TEST], order[_TEST:]
    return DatasetSource(
        [str(digit) for digit in source.target_names],
        ImageSet(images[train], labels[train]),
        ImageSet(images[test], labels[test]),
    )
