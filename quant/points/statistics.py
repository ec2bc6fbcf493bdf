"""What each predictor loses and skips at every threshold, before any is run (paper, section 3).

One pass of a sample of training images through the integer network without ZAP scores every ofm
with every predictor of the bundle, whatever its pattern. Histograms of each channel's scores,
counted once by activation and once by its value, then give for any threshold what it loses and what
it skips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from golden.bundle import Bundle
from golden.errors import UserError
from golden.layers import Predictor, mask, scores
from golden.manifest import ConvNode
from golden.network import Network, quantise_images
from golden.pattern import Pattern
from quant.data.images import Split
from quant.runtime.batch_size import batch_size
from quant.runtime.progress import progress
from quant.zap.training import Site

__all__ = ["SIGMAS", "Curve", "Statistics", "collect"]

_PER_UNIT = 100
SIGMAS = np.arange(-1 * _PER_UNIT, 3 * _PER_UNIT // 2 + 1) / _PER_UNIT
"""The thresholds that there are statistics for, float64: -1 .. 1.5 in steps of 0.01."""


@dataclass(frozen=True)
class Curve:
    """A layer with one predictor: shares of the layer, float64 (channels, len(SIGMAS))."""

    channel_error: np.ndarray
    """What each channel adds to `error`."""
    channel_skipped: np.ndarray
    """What each channel adds to `skipped`."""

    @property
    def error(self) -> np.ndarray:
        """eps_i(sigma) = 1 - sum(ofm with zeros predicted) / sum(ofm), for each of `SIGMAS`."""
        return self.channel_error.sum(axis=0)

    @property
    def skipped(self) -> np.ndarray:
        """Share of all activations that are predicted zero, I_s included in the whole."""
        return self.channel_skipped.sum(axis=0)


@dataclass(frozen=True)
class Statistics:
    """A network's predictors on a number of images."""

    macs: dict[str, int]
    """Multiply-accumulates of one whole ofm of each convolution, fully connected layers not."""
    curves: dict[Site, Curve]

    def share(self, site: Site) -> float:
        """The layer's share of the network's conv MACs."""
        return self.macs[site.layer] / sum(self.macs.values())

    def saving(self, site: Site) -> np.ndarray:
        """Share of the network's conv MACs that the site saves at each threshold of `SIGMAS`."""
        return self.curves[site].skipped * self.share(site)


def collect(bundle: Bundle, split: Split) -> Statistics:
    """Run the images of `split` without ZAP and score them with every predictor of the bundle.

    Raises UserError where the bundle has no predictor.
    """
    sites = [
        Site(node.layer, Pattern.parse(node.pattern))
        for node in bundle.manifest.predictors.values()
    ]
    if not sites:
        raise UserError("the bundle has no predictors; write one with quant/export.py")
    tallies = {site: _Tally(bundle, site) for site in sites}
    network = Network(bundle)
    macs: dict[str, int] = {}
    size = batch_size(bundle)
    batches = -(-len(split) // size)
    for pixels, _ in progress(split.batches(size), batches, "collecting statistics"):
        for step in network.steps(quantise_images(bundle, pixels)):
            if isinstance(step.node, ConvNode) and not step.node.fully_connected:
                name = step.node.name
                macs[name] = bundle.conv(step.node).macs(*step.ifm.shape[2:])
                for site in sites:
                    if site.layer == name:
                        tallies[site].add(step.ofm)
    return Statistics(macs, {site: tally.curve() for site, tally in tallies.items()})


class _Tally:
    """The histograms of one site's real scores, over `I_t`: (channels, bins).

    Bin k < len(SIGMAS) has what SIGMAS[k] is the first threshold to skip (a score is kept iff it is
    strictly greater); the last bin has what none skips.
    """

    def __init__(self, bundle: Bundle, site: Site) -> None:
        # The threshold plays no part in a score.
        self.predictor: Predictor = bundle.predictor(site.name, bundle.threshold(site.name, 0.0))
        self.scale, self.offset = (
            bundle.tensors[f"predictors.{site.name}.{field}"].view(-1, 1)
            for field in ("score_scale", "score_offset")
        )
        shape = len(self.scale), len(SIGMAS) + 1
        self.counts = torch.zeros(shape, dtype=torch.int64)
        self.values = torch.zeros(shape, dtype=torch.float64)
        self.activations = 0
        self.total = 0

    def add(self, ofm: Tensor) -> None:
        """Count a batch, int32 (images, channels, height, width), of ofms without ZAP."""
        computed = mask(self.predictor.pattern, ofm)
        score = scores(self.predictor, ofm * computed)[..., ~computed]
        real = score * self.scale + self.offset
        bins = ((real - SIGMAS[0]) * _PER_UNIT).ceil_().clamp_(0, len(SIGMAS)).long()
        channels, size = self.counts.shape
        places = (bins + size * torch.arange(channels).view(-1, 1)).flatten()
        value = ofm[..., ~computed].flatten().double()
        self.counts += torch.bincount(places, minlength=channels * size).view(channels, size)
        self.values += torch.bincount(places, value, channels * size).view(channels, size)
        self.activations += ofm.numel()
        self.total += int(ofm.sum())

    def curve(self) -> Curve:
        """Of all batches so far."""
        return Curve(
            # A layer whose ofm is all zeros has nothing to lose.
            channel_error=self.values.cumsum(1)[:, :-1].numpy() / max(self.total, 1),
            channel_skipped=self.counts.cumsum(1)[:, :-1].numpy() / self.activations,
        )
