"""Statistics of what each predictor loses and skips at every threshold (paper, section 3).

They are collected before any predictor is run. A sample of training images passes once through the
integer network without ZAP, and every predictor of the bundle, whatever its pattern, scores the
ofms. Each channel's scores are counted in two histograms: once by activation, once by the
activation's value. From these follows, for any threshold, what it loses and what it skips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from golden.arithmetic import ceil_div
from golden.bundle import Bundle
from golden.errors import UserError
from golden.layers import Predictor, mask, scores
from golden.manifest import ConvNode
from golden.network import Network, quantise_images
from golden.pattern import Pattern
from quant.data.images import ImageSet
from quant.native.layers import NativePredictor, ScoreBins, as_map
from quant.native.network import checked_kernels, native_network
from quant.runtime.batch_size import batch_size
from quant.runtime.progress import progress
from quant.zap.predictor import Site

__all__ = ["SIGMAS", "SiteStatistics", "Statistics", "collect_statistics"]

_PER_UNIT = 100
SIGMAS = np.arange(-1 * _PER_UNIT, 3 * _PER_UNIT // 2 + 1) / _PER_UNIT
"""The thresholds that there are statistics for, float64: -1 .. 1.5 in steps of 0.01."""


@dataclass(frozen=True)
class SiteStatistics:
    """The statistics of one layer with one predictor, as shares of the layer.

    Arrays are float64 (channels, len(SIGMAS)).
    """

    channel_error: np.ndarray
    """The part of `error` that each channel contributes."""
    channel_skipped: np.ndarray
    """The part of `skipped` that each channel contributes."""

    @property
    def error(self) -> np.ndarray:
        """eps_i(sigma) = 1 - sum(ofm with zeros predicted) / sum(ofm), for each of `SIGMAS`."""
        return self.channel_error.sum(axis=0)

    @property
    def skipped(self) -> np.ndarray:
        """Share of all activations, `I_s` included, that are predicted zero at each of `SIGMAS`."""
        return self.channel_skipped.sum(axis=0)


@dataclass(frozen=True)
class Statistics:
    """The statistics of a network's predictors on a number of images."""

    macs: dict[str, int]
    """Convolution -> MACs of one whole ofm; fully connected layers are not included."""
    sites: dict[Site, SiteStatistics]

    def mac_share(self, site: Site) -> float:
        """Return the layer's share of the network's conv MACs."""
        return self.macs[site.layer] / sum(self.macs.values())

    def mac_saving(self, site: Site) -> np.ndarray:
        """Return the share of the network's conv MACs that a site saves at each of `SIGMAS`."""
        return self.sites[site].skipped * self.mac_share(site)


def collect_statistics(bundle: Bundle, image_set: ImageSet) -> Statistics:
    """Run images without ZAP and score them with every predictor of the bundle.

    Raises UserError if the bundle has no predictor.
    """
    sites = [
        Site(node.layer, Pattern.parse(node.pattern))
        for node in bundle.manifest.predictors.values()
    ]
    if not sites:
        raise UserError("the bundle has no predictors; write one with quant/export.py")
    histograms = {site: _Histograms(bundle, site) for site in sites}
    network = native_network(bundle) or Network(bundle)
    macs: dict[str, int] = {}
    size = batch_size(bundle)
    batches = ceil_div(len(image_set), size)
    for pixels, _ in progress(image_set.batches(size), batches, "collecting statistics"):
        for step in network.steps(quantise_images(bundle, pixels)):
            if isinstance(step.node, ConvNode) and not step.node.fully_connected:
                name = step.node.name
                macs[name] = bundle.conv(step.node).macs(*step.ifm.shape[2:])
                for site in sites:
                    if site.layer == name:
                        histograms[site].add(step.ofm)
    return Statistics(macs, {site: counted.statistics() for site, counted in histograms.items()})


class _Histograms:
    """The histograms of one site's real scores over `I_t`, (channels, bins).

    Bin k < len(SIGMAS) counts what is skipped from threshold SIGMAS[k] on, because a score is kept
    iff it is strictly greater than the threshold. The last bin counts what no threshold skips.
    """

    def __init__(self, bundle: Bundle, site: Site) -> None:
        # The score does not depend on the threshold.
        self.predictor: Predictor = bundle.predictor(site.name, bundle.threshold(site.name, 0.0))
        self.scale, self.offset = (
            bundle.tensors[f"predictors.{site.name}.{field}"].view(-1, 1)
            for field in ("score_scale", "score_offset")
        )
        kernels = checked_kernels()
        self.native = None if kernels is None else NativePredictor(kernels, self.predictor)
        shape = len(self.scale), len(SIGMAS) + 1
        self.counts = torch.zeros(shape, dtype=torch.int64)
        self.values = torch.zeros(shape, dtype=torch.float64)
        self.activations = 0
        self.total = 0

    def add(self, ofm: Tensor) -> None:
        """Count a batch of ofms without ZAP, integers (images, channels, height, width)."""
        counts, values = self._count(ofm) if self.native is None else self._count_natively(ofm)
        self.counts += counts
        self.values += values
        self.activations += ofm.numel()
        self.total += int(ofm.sum())

    def _count(self, ofm: Tensor) -> tuple[Tensor, Tensor]:
        """Return the histograms of a batch."""
        computed = mask(self.predictor.pattern, ofm)
        score = scores(self.predictor, ofm * computed)[..., ~computed]
        real = score * self.scale + self.offset
        bins = ((real - SIGMAS[0]) * _PER_UNIT).ceil_().clamp_(0, len(SIGMAS)).long()
        channels, size = self.counts.shape
        places = (bins + size * torch.arange(channels).view(-1, 1)).flatten()
        value = ofm[..., ~computed].flatten().double()
        counts = torch.bincount(places, minlength=channels * size)
        values = torch.bincount(places, value, channels * size)
        return counts.view(channels, size), values.view(channels, size)

    def _count_natively(self, ofm: Tensor) -> tuple[Tensor, Tensor]:
        assert self.native is not None
        bins = ScoreBins(self.scale, self.offset, float(SIGMAS[0]), _PER_UNIT, len(SIGMAS) + 1)
        return self.native.count_scores(as_map(ofm, False), bins)

    def statistics(self) -> SiteStatistics:
        """Return the statistics of all batches so far."""
        return SiteStatistics(
            # A layer whose ofm is all zeros has nothing to lose.
            channel_error=self.values.cumsum(1)[:, :-1].numpy() / max(self.total, 1),
            channel_skipped=self.counts.cumsum(1)[:, :-1].numpy() / self.activations,
        )
