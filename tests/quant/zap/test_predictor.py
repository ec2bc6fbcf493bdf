"""The ZAP module works on each channel by itself."""

from __future__ import annotations

import torch
from torch import nn

from quant.zap.predictor import Zap


def test_zap_mixes_no_channels_and_pads_with_true_zeros() -> None:
    torch.manual_seed(0)
    zap = Zap(3).eval()
    nn.init.constant_(zap.bn1.bias, 0.5)
    partial = torch.rand(1, 3, 6, 6)
    other = partial.clone()
    other[:, 1] = 0
    with torch.no_grad():
        expected, changed = zap(partial), zap(other)
        wide = zap.conv2(torch.relu(zap.bn1(zap.conv1(nn.functional.pad(partial, (2,) * 4)))))
    assert torch.equal(expected[:, [0, 2]], changed[:, [0, 2]])
    assert not torch.equal(expected[:, 1], changed[:, 1])
    # A border of zeros is not what lies outside the map: there relu(bias) would count.
    assert not torch.allclose(zap.bn2(wide)[..., 2:-2, 2:-2], expected)
