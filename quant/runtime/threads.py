"""The number of threads that PyTorch computes with."""

from math import prod

import torch

__all__ = ["set_threads_for"]

_SMALL_IMAGE = 1024
"""Values of a small image, channels included; an image of CIFAR has three times as many."""


def set_threads_for(shape: tuple[int, int, int]) -> None:
    """Use one thread for a network on small images of `shape`, else leave the number as it is.

    Small operations gain nothing from a second thread, and they wait for it each time if another
    process has its core: a training step of the digits network then took 40 times as long.
    """
    if prod(shape) < _SMALL_IMAGE:
        torch.set_num_threads(1)
