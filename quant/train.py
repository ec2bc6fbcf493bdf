"""Training a built-in network from scratch, and the accuracy of a float network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quant.data import Split
from quant.models import Model
from quant.progress import progress

__all__ = ["float_top1", "train"]

_BATCH = 64
_LEARNING_RATE = 4e-3
_WEIGHT_DECAY = 1e-2
_SHIFT = 1
"""Images are moved by up to this many pixels, to see more than there are."""


def train(
    model: Model, module: nn.Module, split: Split, *, epochs: int, seed: int, device: str
) -> None:
    """Train `module` in place, with AdamW and one learning-rate cycle; leaves it in eval mode.

    The order of images and their shifts follow from `seed`; the initial weights are the caller's.
    """
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * -(-len(split) // _BATCH)
    optimiser = torch.optim.AdamW(
        module.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LEARNING_RATE, total_steps=steps)
    module.to(device).train()
    for _ in progress(range(epochs), epochs, "training the network"):
        for index in torch.randperm(len(split), generator=generator).split(_BATCH):
            images = model.normalise(_shifted(split.pixels(index), generator))
            loss = F.cross_entropy(module(images.to(device)), split.labels[index].to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    module.eval()


@torch.no_grad()
def float_top1(model: Model, module: nn.Module, split: Split, *, device: str) -> float:
    """Top-1 accuracy in percent of a module in eval mode."""
    module.to(device).eval()
    correct = 0
    for pixels, labels in split.batches(256):
        logits = module(model.normalise(pixels).to(device))
        correct += int((logits.argmax(1).cpu() == labels).sum())
    return 100 * correct / len(split)


def _shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by its own whole number of pixels, zeros moving in."""
    padded = F.pad(images, (_SHIFT,) * 4)
    height, width = images.shape[2:]
    moves = torch.randint(2 * _SHIFT + 1, (len(images), 2), generator=generator).tolist()
    return torch.stack(
        [image[:, y : y + height, x : x + width] for image, (y, x) in zip(padded, moves)]
    )
