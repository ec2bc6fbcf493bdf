"""A small U-Net (Ronneberger et al., 2015): its result is a map, one value for each pixel.

python quant/export.py --model examples/networks/unet.py:UNet ...
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from examples.networks.random_weights import settle

__all__ = ["UNet"]


def _double(c_i: int, c_o: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(c_i, c_o, 3, padding=1, bias=False), nn.BatchNorm2d(c_o), nn.ReLU(inplace=True),
        nn.Conv2d(c_o, c_o, 3, padding=1, bias=False), nn.BatchNorm2d(c_o), nn.ReLU(inplace=True),
    )  # fmt: skip


class UNet(nn.Module):
    """Halves the map as often as `widths` says, and doubles it again beside what it was."""

    def __init__(self, classes: int = 2, widths: tuple[int, ...] = (16, 32, 64, 128)) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(widths))
        self.first = _double(3, widths[0])
        self.down = nn.ModuleList(_double(c_i, c_o) for c_i, c_o in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(c_o, c_i, 2, 2) for c_i, c_o in pairs)
        self.joined = nn.ModuleList(_double(2 * c_i, c_i) for c_i, _ in pairs)
        self.last = nn.Conv2d(widths[0], classes, 1)
        settle(self, (8, 3, 32, 32))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        kept = []
        for down in self.down:
            kept.append(x)
            x = down(nn.functional.max_pool2d(x, 2))
        for up, joined, beside in zip(self.up[::-1], self.joined[::-1], kept[::-1]):
            x = joined(torch.cat([beside, up(x)], 1))
        return self.last(x)
