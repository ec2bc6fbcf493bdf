"""Training of zero-activation predictors (paper, section 2.2).

Training needs no labels and does not change the network. The quantised network runs without ZAPs,
so every predictor learns from exactly what the hardware will show it. Each learns by itself which
of the activations that it does not see are positive. The predictors of all layers and all patterns
learn in one pass over the data.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from golden.bundle import Bundle
from golden.network import Network, quantise_images
from quant.data.images import ImageSet
from quant.runtime import processes
from quant.runtime.progress import progress
from quant.runtime.replica import replica
from quant.zap.predictor import Site, Zap

__all__ = ["BATCH", "train_zaps"]

BATCH = 32
"""Images that the network runs at each step."""
_POSITIONS = 4096
"""At each step a predictor learns from whole images, up to about so many positions of each channel.
A predictor has twenty weights, so more steps teach it more than more positions at each step.
Measured on ResNet-20 with masks B and D and 16,000 images seen, as the share of MACs saved at a sum
of eps of 0.1: 0.114 in steps of 128 images and 8,192 positions; 0.132 in steps of 32 images and as
many positions; 0.132 in steps of 16 images and 4,096 positions."""
_LEARNING_RATE = 0.01
_LEAK = 0.02
"""Slope of the clamp outside 0 .. 1. The paper has none. But then a channel whose scores have all
left the range on the wrong side never learns again: on ResNet-20 (mask D, layer3) such channels are
half of the error at small thresholds."""


def train_zaps(
    bundle: Bundle,
    sites: Sequence[Site],
    image_set: ImageSet,
    *,
    epochs: int,
    seed: int,
    device: str = "cpu",
) -> dict[Site, Zap]:
    """Train a predictor for each site; they are returned in eval mode on the CPU.

    The loss is the mean squared error over `I_t` between the score, clamped to 0 .. 1 with a small
    leak, and 1 where the activation is positive, 0 elsewhere. The optimiser is Adam without weight
    decay; the learning rate falls linearly to zero.
    """
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    shapes = {n.name: bundle.manifest.activations[n.output].shape for n in bundle.manifest.layers}
    if not sites:
        return {}
    zaps = {site: Zap(shapes[site.layer][0]).to(device) for site in sites}
    masks = {
        site: torch.from_numpy(site.pattern.mask(*shapes[site.layer][1:])).to(device)
        for site in sites
    }
    optimiser = torch.optim.Adam(
        [weight for zap in zaps.values() for weight in zap.parameters()], _LEARNING_RATE
    )
    network = Network(bundle)
    steps = [
        index
        for _ in range(epochs)
        for index in torch.randperm(len(image_set), generator=order).split(BATCH)
    ]
    replicas = {site: replica(zap) for site, zap in zaps.items()}
    mine = processes.share()
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 0, total_iters=len(steps))
    for index in progress(steps, len(steps), "training the ZAPs"):
        images = quantise_images(bundle, image_set.pixels(index[mine]))
        optimiser.zero_grad()
        for step in network.steps(images):
            here = [site for site in sites if site.layer == step.node.name]
            if here:
                scale = bundle.manifest.activations[step.node.output].scale
                height, width = step.ofm.shape[2:]
                few = range(min(max(_POSITIONS // (height * width), 1), len(index)))
                ofm = step.ofm[: len(few[mine])].to(device, torch.get_default_dtype()) * scale
                for site in here:
                    loss = _loss(replicas[site], ofm, masks[site], len(few))
                    (loss * processes.world_size()).backward()
        optimiser.step()
        decay.step()
    return {site: zap.cpu().eval() for site, zap in zaps.items()}


def _loss(zap: nn.Module, ofm: Tensor, computed: Tensor, images: int) -> Tensor:
    """Return the loss over the positions that are not computed by the mask (height, width).

    `images` is the number of images that the mean is over; `ofm` has this process's share of them.
    """
    predicted = ~computed
    scores = zap(ofm * computed)
    scores = torch.lerp(scores.clamp(0, 1), scores, _LEAK)
    errors = (scores - (ofm > 0).to(scores.dtype)) * predicted
    # A map that is smaller than the pattern's period may have nothing to predict.
    count = max(images * ofm.shape[1] * int(predicted.sum()), 1)
    return errors.square().sum() / count
