"""Convolutions whose sides are padded apart."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from golden.padding import Padding, conv2d


@pytest.mark.parametrize("padding", [(1, 1, 2, 2), (1, 0, 2, 1), (-1, 2, 0, -1)])
def test_strides_dilation_and_groups_hold_with_any_padding(padding: Padding) -> None:
    generator = torch.Generator().manual_seed(1)
    ifm = torch.randint(0, 9, (2, 4, 9, 8), generator=generator).double()
    weight = torch.randint(-4, 5, (6, 2, 2, 3), generator=generator).double()
    bias = torch.arange(6).double()
    top, bottom, left, right = padding
    by_hand = F.conv2d(F.pad(ifm, (left, right, top, bottom)), weight, bias, (2, 1), 0, (2, 1), 2)
    found = conv2d(ifm, weight, bias, (2, 1), padding, groups=2, dilation=(2, 1))
    assert torch.equal(found, by_hand)
