"""Sections about a network's layers: zeros, pictures, scores, mistakes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.report import ofms, style
from bench.report.observe import Observation
from bench.report.page import Exhibit, Section
from golden.pattern import Pattern
from quant.points.statistics import SIGMAS, Statistics

__all__ = ["mispredictions", "pictures", "scores", "sparsity"]

_PICTURED = 3
_SMALLEST_PICTURE = 36
"""Activations of a channel; pictures of smaller maps show nothing."""
_BIN = 5
"""Thresholds of SIGMAS in a bin of a histogram."""
_TAIL = 0.002
"""Share of the scores that a figure may leave out at each end."""


def sparsity(networks: Sequence[Observation]) -> Section:
    """Draw figure 2: zeros of each ofm, and how many of them were never computed."""
    return Section(
        "Zero activations in each layer",
        "Share of zero activations in the ofm of each convolution that ends in a ReLU (paper, "
        "figure 2): the most that any predictor could skip there. The inner bar is the share that "
        "ZAP skipped at one operating point.",
        [_sparsity(network) for network in networks],
    )


def _sparsity(network: Observation) -> Exhibit:
    layers = network.layers
    zeros = np.array([layer.zeros / layer.activations for layer in layers])
    skipped = np.array([layer.skipped.sum() / layer.activations for layer in layers])
    wrong = np.array([layer.wrong / layer.activations for layer in layers])
    figure, axes = style.new(2.9)
    axis = axes[0, 0]
    places = np.arange(len(layers))
    axis.bar(places, zeros, 0.8, color=style.LIGHT, label="zero, without ZAP")
    axis.bar(
        places,
        skipped - wrong,
        0.5,
        color=ofms.KINDS["computed by the pattern"],
        label="skipped by ZAP, zero",
    )
    axis.bar(
        places,
        wrong,
        0.5,
        bottom=skipped - wrong,
        color=style.WRONG,
        label="skipped by ZAP, was not zero",
    )
    long = max(len(layer.name) for layer in layers) * len(layers) > 100
    axis.set_xticks(
        places,
        [layer.name for layer in layers],
        rotation=40 if long else 0,
        ha="right" if long else "center",
        rotation_mode="anchor",
    )
    axis.grid(visible=False, axis="x")
    axis.set_ylim(0, 1)
    axis.yaxis.set_major_formatter(style.PERCENT)
    axis.set_ylabel("share of the layer's activations")
    figure.legend(loc="outside upper right", ncols=3)
    return Exhibit(
        name=f"sparsity-{network.slug}",
        heading=network.where,
        caption=f"{network.images} test images; ZAP at operating point {network.point}.",
        figure=figure,
        records=[
            {
                "layer": layer.name,
                "activations": layer.activations,
                "zero": zeros[i],
                "zap": layer.zap,
                "skipped": skipped[i],
                "skipped_not_zero": wrong[i],
            }
            for i, layer in enumerate(layers)
        ],
    )


def pictures(networks: Sequence[Observation]) -> Section:
    """Draw figures 1 and 3: an ofm, its pattern, the decisions, the result."""
    return Section(
        "Output feature maps",
        "ZAP on single ofms (paper, figures 1 and 3). The pattern's activations are computed "
        "first. From these the predictor decides which of the others to compute; those that it "
        "skips are zero.",
        [_pictures(network) for network in networks if _pictured(network)],
    )


def _pictured(network: Observation) -> list[ofms.Decision]:
    """Choose up to three layers with large enough maps, spread from the first to the last."""
    large = [d for d in network.decisions if d.kinds().size >= _SMALLEST_PICTURE]
    count = min(_PICTURED, len(large))
    return [large[i] for i in np.linspace(0, len(large) - 1, count).round().astype(int)]


def _pictures(network: Observation) -> Exhibit:
    decisions = _pictured(network)
    records = []
    for decision in decisions:
        counts = np.bincount(decision.kinds().flatten(), minlength=len(ofms.KINDS))
        records.append(
            {
                "layer": decision.layer,
                "channel": decision.channel,
                "pattern": str(decision.pattern),
                **dict(zip(ofms.KINDS, counts.tolist())),
            }
        )
    return Exhibit(
        name=f"ofms-{network.slug}",
        heading=network.where,
        caption=f"{network.pictured} at operating point {network.point}. Of each layer, the "
        "channel with most of both, activations and skips, is shown.",
        figure=ofms.draw(network.pixels, decisions),
        records=records,
    )


def scores(networks: Sequence[Observation]) -> Section:
    """Draw figure 6: histograms of the scores, and their sums up to each threshold."""
    return Section(
        "Scores and thresholds",
        "Histograms of the predictors' scores over all layers, and their sums up to σ, one "
        "threshold for all layers (paper, figure 6). If each activation counts with its layer's "
        "MACs, the sum is the share of MACs that are skipped. If each counts with its value, the "
        "sum is Σε, the error on which accuracy depends.",
        [_scores(network) for network in networks],
    )


def _totals(statistics: Statistics) -> dict[Pattern, tuple[np.ndarray, np.ndarray]]:
    """Return, for each pattern, MACs skipped and sum of eps over all layers at each of SIGMAS."""
    totals = {}
    patterns = {site.pattern for site in statistics.sites}
    for pattern in sorted(patterns, key=lambda pattern: -pattern.alpha):
        sites = [site for site in statistics.sites if site.pattern == pattern]
        saved = np.sum([statistics.mac_saving(site) for site in sites], axis=0)
        error = np.sum([statistics.sites[site].error for site in sites], axis=0)
        totals[pattern] = (saved, error)
    return totals


def _scores(network: Observation) -> Exhibit:
    totals = _totals(network.statistics)
    figure, axes = style.new(4.6, 2, 2, sharex=True)
    shown = np.zeros(len(SIGMAS), dtype=bool)
    for pattern, both in totals.items():
        colour = style.MASKS.get(str(pattern), style.INK)
        for row, total in zip(axes, both):
            # Scores below the first threshold have no bin.
            row[0].stairs(
                np.diff(total[::_BIN]), SIGMAS[::_BIN], color=colour, lw=1.3, label=str(pattern)
            )
            row[1].plot(SIGMAS, total, color=colour)
            shown |= (total > _TAIL * total[-1]) & (total < (1 - _TAIL) * total[-1])
    bins = f"per {SIGMAS[_BIN] - SIGMAS[0]:.2g} of score"
    for (histogram, curve), name in zip(axes, ("share of conv MACs", "ε, summed over layers")):
        histogram.set_ylabel(f"{name}\n{bins}")
        curve.set_ylabel(f"{name}\nup to σ")
        curve.set_ylim(bottom=0)
    for axis in axes[0]:
        axis.yaxis.set_major_formatter(style.PERCENT)
    axes[0, 0].set_title("counted by activation")
    axes[1, 0].set_title("counted by value")
    axes[0, 1].set_title("MACs skipped")
    axes[1, 1].set_title("error")
    axes[1, 0].set_xlabel("score")
    axes[1, 1].set_xlabel("threshold σ")
    axes[0, 0].set_xlim(SIGMAS[shown][0], SIGMAS[shown][-1])
    if len(totals) > 1:
        axes[0, 0].legend(title="mask")
    return Exhibit(
        name=f"scores-{network.slug}",
        heading=network.where,
        caption=f"{network.sampled} training images, the network running without ZAP; "
        f"masks {', '.join(str(pattern) for pattern in totals)}.",
        figure=figure,
        records=[
            {
                "layer": site.layer,
                "pattern": str(site.pattern),
                "sigma": sigma,
                "skipped": skipped,
                "error": error,
            }
            for site, curve in network.statistics.sites.items()
            for sigma, skipped, error in zip(SIGMAS, curve.skipped, curve.error)
        ],
    )


def mispredictions(networks: Sequence[Observation]) -> Section:
    """Draw figure 10: the values that are lost."""
    return Section(
        "Values of mispredicted activations",
        "Activations that were skipped although not zero, by the 8-bit value that they would have "
        "had (paper, figure 10). Small values lost do little harm.",
        [_mispredictions(network) for network in networks],
    )


def _mispredictions(network: Observation) -> Exhibit:
    predicted = np.sum([layer.predicted for layer in network.layers], axis=0)
    skipped = np.sum([layer.skipped for layer in network.layers], axis=0)
    values = np.arange(len(predicted))
    present = predicted[1:]
    last = int(np.searchsorted(present.cumsum(), 0.999 * present.sum())) + 2
    figure, axes = style.new(2.9, 1, 2)
    counts, share = axes[0]
    edges = np.arange(1, last + 1) - 0.5
    counts.stairs(
        predicted[1:last], edges, fill=True, color=style.LIGHT, label="predicted, not zero"
    )
    counts.stairs(skipped[1:last], edges, fill=True, color=style.WRONG, label="of those skipped")
    counts.set_yscale("log")
    counts.set_ylabel("activations")
    counts.legend()
    rate = skipped[1:last] / np.maximum(present[: last - 1], 1)
    share.plot(values[1:last], rate, color=style.WRONG)
    share.set_ylabel("share that is skipped")
    share.yaxis.set_major_formatter(style.PERCENT)
    share.set_ylim(bottom=0)
    for axis in axes[0]:
        axis.set_xlabel("value, 8-bit integer")
        axis.set_xlim(0, last)
    missed = skipped[1:].sum()
    half = int(np.searchsorted(skipped[1:].cumsum(), missed / 2)) + 1
    return Exhibit(
        name=f"mispredictions-{network.slug}",
        heading=network.where,
        caption=f"{network.images} test images at operating point {network.point}, all layers: "
        f"{missed / max(present.sum(), 1):.2%} of the predicted activations that are not zero "
        f"were skipped, {missed / max(skipped.sum(), 1):.2%} of all skips; half of these have a "
        f"value of {half} or less.",
        figure=figure,
        records=[
            {"layer": layer.name, "value": value, "predicted": p, "skipped": s}
            for layer in network.layers
            if layer.zap
            for value, (p, s) in enumerate(zip(layer.predicted.tolist(), layer.skipped.tolist()))
        ],
    )
