"""Slices: how a convolution with groups is cut along its channels.

Tensors are planes of G channels. A *slice* is the fewest whole planes of the ifm that whole groups
read whose kernels make whole planes of the ofm. A depthwise convolution has one plane in a slice, a
convolution without groups has one slice with all of them. The core loads one slice after another
into its ifm buffer, and a kernel reads the words of its own slice alone. Within a slice, weights of
zero are written out for channels of other groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, lcm

from torch import Tensor

from golden.arithmetic import ceil_div
from golden.layers import Conv

__all__ = ["Slices", "cut_slices", "expanded"]


@dataclass(frozen=True)
class Slices:
    """The slices of a convolution; the last one may be smaller than the others.

    Parameters
    ----------
    count : int
        1 where all kernels read the whole ifm.
    planes : int
        Planes of the ifm in a slice.
    ifm_channels, channels : int
        Channels of the ifm in a slice, and of the ofm.
    """

    count: int
    planes: int
    ifm_channels: int
    channels: int


def cut_slices(conv: Conv, ifm_channels: int, group: int) -> Slices:
    """Cut a convolution that reads that many channels, in planes of `group` channels."""
    planes = ceil_div(ifm_channels, group)
    wide, kernels = ifm_channels // conv.groups, len(conv.weight) // conv.groups
    fewest = lcm(group // gcd(wide, group), group // gcd(kernels, group))
    for groups in range(fewest, conv.groups, fewest):
        count, in_slice = ceil_div(conv.groups, groups), groups * wide // group
        if count * in_slice == planes:
            return Slices(count, in_slice, groups * wide, groups * kernels)
    return Slices(1, planes, ifm_channels, len(conv.weight))


def expanded(conv: Conv, slices: Slices) -> Tensor:
    """The weights of all channels of a slice, int8 (c_o, slices.ifm_channels, k_h, k_w)."""
    if conv.groups == 1:
        return conv.weight
    channels, wide, *kernel = conv.weight.shape
    kernels = channels // conv.groups
    weight = conv.weight.new_zeros(channels, slices.ifm_channels, *kernel)
    for group in range(conv.groups):
        first = group * wide % slices.ifm_channels
        of_group = slice(group * kernels, (group + 1) * kernels)
        weight[of_group, first : first + wide] = conv.weight[of_group]
    return weight
