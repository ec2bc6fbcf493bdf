"""The zero-activation predictor as a PyTorch module, and how it learns (paper, section 2.2).

Training needs no labels and leaves the network alone: the quantised network runs without ZAPs, so
that every predictor learns from exactly what the hardware will show it, and each learns by itself
which of the activations it does not see are positive. All layers, and all patterns, learn in one
pass over the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golden.bundle import Bundle
from golden.errors import UserError
from golden.network import Network, quantise_images
from golden.pattern import Pattern
from quant.data.images import Split
from quant.runtime import processes
from quant.runtime.files import save_whole
from quant.runtime.progress import progress

__all__ = ["BATCH", "Site", "Zap", "load_zaps", "save_zaps", "train_zaps"]

BATCH = 32
_POSITIONS = 4096
"""A step learns from whole images up to about so many positions of each channel. A predictor has
twenty weights: more steps teach it more than more positions in each. Measured on ResNet-20, masks B
and D, 16,000 images seen, by the share of MACs saved at a sum of eps of 0.1: 0.114 in steps of 128
images and 8,192 positions; 0.132 in steps of 32 and as many; 0.132 in steps of 16 and 4,096."""
_LEARNING_RATE = 0.01
_LEAK = 0.02
"""Slope of the clamp outside 0 .. 1. With none, as in the paper, a channel whose scores have all
left the range on the wrong side never learns again: on ResNet-20 (mask D, layer3) such channels are
half of the error at small thresholds."""


class Zap(nn.Module):
    """Scores the activations of one layer: DWConv3x3, BN, ReLU, DWConv3x3, BN, per channel.

    The paper's convolutions have a bias. BN takes it out again, so its gradient is rounding noise,
    which Adam enlarges to full steps; where a channel's variance is next to none, the running mean
    cannot follow that walk and the score in use is far from the one in training. Hence none here.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _depthwise(channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _depthwise(channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, partial: Tensor) -> Tensor:
        """Real scores of a partial ofm (images, channels, height, width), not clamped."""
        return self.bn2(self.conv2(F.relu(self.bn1(self.conv1(partial)))))


def _depthwise(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)


@dataclass(frozen=True)
class Site:
    """A layer and the pattern that a predictor of its ofm works with."""

    layer: str
    pattern: Pattern

    @property
    def name(self) -> str:
        """The predictor's name in a bundle."""
        return f"{self.layer}.{self.pattern}"


def train_zaps(
    bundle: Bundle,
    sites: Sequence[Site],
    split: Split,
    *,
    epochs: int,
    seed: int,
    device: str = "cpu",
) -> dict[Site, Zap]:
    """A trained predictor, in eval mode on the CPU, for each site.

    The loss is the mean squared error over `I_t` between the score, all but clamped to 0 .. 1, and
    whether the activation is positive. Adam, no weight decay, a learning rate that falls linearly
    to zero.
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
        for index in torch.randperm(len(split), generator=order).split(BATCH)
    ]
    replicas = {site: processes.replica(zap) for site, zap in zaps.items()}
    mine = processes.share()
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 0, total_iters=len(steps))
    for index in progress(steps, len(steps), "training the ZAPs"):
        images = quantise_images(bundle, split.pixels(index[mine]))
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


def save_zaps(zaps: Mapping[Site, Zap], file: Path) -> None:
    """Write trained predictors in float, whole or not at all."""
    save_whole({site.name: zap.state_dict() for site, zap in zaps.items()}, file)


def load_zaps(bundle: Bundle, file: Path) -> dict[Site, Zap]:
    """Predictors that `save_zaps` wrote for this bundle's network, in eval mode.

    Raises UserError where the file is not that.
    """
    shapes = {n.name: bundle.manifest.activations[n.output].shape for n in bundle.manifest.layers}
    zaps = {}
    try:
        for name, state in torch.load(file, map_location="cpu", weights_only=True).items():
            layer, _, pattern = name.rpartition(".")
            zap = Zap(shapes[layer][0])
            zap.load_state_dict(state)
            zaps[Site(layer, Pattern.parse(pattern))] = zap.eval()
    except FileNotFoundError:
        raise UserError(f"{file}: not found; quant/export.py --save-zaps writes it") from None
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise UserError(f"{file}: holds no ZAPs of this network: {error}") from None
    return zaps


def _loss(zap: nn.Module, ofm: Tensor, computed: Tensor, images: int) -> Tensor:
    """Over the positions that the boolean mask (height, width) does not call computed.

    `images` is how many the mean is over; `ofm` has this process's share of them.
    """
    predicted = ~computed
    scores = zap(ofm * computed)
    scores = torch.lerp(scores.clamp(0, 1), scores, _LEAK)
    errors = (scores - (ofm > 0).to(scores.dtype)) * predicted
    # A map that is smaller than the pattern's period may have nothing to predict.
    count = max(images * ofm.shape[1] * int(predicted.sum()), 1)
    return errors.square().sum() / count
