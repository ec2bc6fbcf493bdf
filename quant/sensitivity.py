"""What a layer's error costs: eps of one layer is not as dear as the same eps of another.

The paper's accuracy-error line takes the sum of eps over the layers, all alike. Here each layer is
run with its ZAP alone, at a threshold where its eps is small and known from the statistics, and the
weight of its eps is how far the network's answer then moves: the mean Kullback-Leibler divergence
between the softmax of the logits without and with, per eps. Unlike accuracy, that is smooth: a few
hundred images tell it, and no labels are needed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from golden.bundle import Bundle
from golden.layers import Predictor
from golden.network import Network, quantise_images
from quant.curves import SIGMAS, Statistics
from quant.data import Split
from quant.progress import progress

__all__ = ["weigh"]

_ERROR = 0.05
"""The eps that layers are measured at, or the nearest that they have."""
_BATCH = 100
_LEAST = 0.05
"""A layer that seems to cost next to nothing costs this share of the mean, all the same."""


def weigh(bundle: Bundle, statistics: Statistics, split: Split) -> Statistics:
    """The same statistics with a weight for each layer's eps; their mean is 1."""
    dense = _log_softmax(bundle, {}, split)
    layers = dict.fromkeys(site.layer for site in statistics.curves)
    costs = {}
    for layer in progress(layers, len(layers), "weighing the layers"):
        # Of the patterns, the one that saves most at this error.
        sites = [site for site in statistics.curves if site.layer == layer]
        nearest = {s: int(np.abs(statistics.curves[s].error - _ERROR).argmin()) for s in sites}
        site = max(sites, key=lambda site: statistics.curves[site].skipped[nearest[site]])
        table = bundle.threshold(site.name, float(SIGMAS[nearest[site]]))
        moved = _log_softmax(bundle, {layer: bundle.predictor(site.name, table)}, split)
        divergence = (dense.exp() * (dense - moved)).sum(1).mean()
        error = statistics.curves[site].error[nearest[site]]
        costs[layer] = float(divergence) / max(float(error), 1e-9)
    mean = float(np.mean(list(costs.values())))
    return replace(statistics, weights={n: max(c / mean, _LEAST) for n, c in costs.items()})


def _log_softmax(bundle: Bundle, predictors: dict[str, Predictor], split: Split) -> Tensor:
    """Of the real logits, float64 (images, classes)."""
    network = Network(bundle, predictors)
    scale = bundle.manifest.activations[bundle.manifest.output].scale
    logits = [network(quantise_images(bundle, pixels)) for pixels, _ in split.batches(_BATCH)]
    return F.log_softmax(torch.cat(logits).double() * scale, 1)
