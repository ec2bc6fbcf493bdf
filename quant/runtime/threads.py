"""How many threads PyTorch computes with."""

from math import prod

import torch

__all__ = ["suit_threads"]

_SMALL_IMAGE = 1024
"""Pixels, channels included; CIFAR's have three times as many."""


def suit_threads(shape: tuple[int, int, int]) -> None:
    """One thread for a network on small images of `shape`, PyTorch's own choice for others.

    Small operations gain nothing from a second thread, and where another process has its core they
    wait for it each time: a training step of the digits network then took 40 times as long.
    """
    if prod(shape) < _SMALL_IMAGE:
        torch.set_num_threads(1)
