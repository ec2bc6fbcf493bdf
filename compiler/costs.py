"""The cycles and the traffic of a network's layers, without ZAP and at any share of skips.

The layers are lowered as `compiler.build` lowers them, and the cycles are those of
`compiler.cycles`. Neither a memory image nor trained predictors are needed, and a layer that does
not fit a configuration does not keep the others from being counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from compiler.batches import lower_step_for_images, plan_images
from compiler.cycles import Cycles, TileCycles, tile_cycles
from compiler.lowering.steps import Step
from compiler.rewriting.rewrites import as_the_core_runs_it
from compiler.traffic import Beats, tile_beats
from golden.bundle import Bundle
from golden.errors import UserError
from golden.layers import Predictor
from golden.pattern import Pattern
from golden.zap_sites import zap_sites
from hw.contract.config import Config

__all__ = ["LATENCY", "NetworkCosts", "Skips"]

LATENCY = 40
"""The memory's latency in cycles, unless another is asked for."""

Skips = Mapping[str, tuple[Pattern, float]]
"""Layer with ZAP -> its pattern, and the share of its activations that is skipped."""


@dataclass(frozen=True)
class _Lowered:
    """A layer's tiles, as the words that the model reads, and their cycles by what is kept."""

    words: list[dict[str, int]]
    cycles: dict[float, list[TileCycles]] = field(default_factory=dict)


class NetworkCosts:
    """The costs of a bundle's network on a configuration.

    Parameters
    ----------
    bundle : Bundle
        It may be one without predictors.
    config : Config
    latency : int
        The memory's, in cycles.
    images : int
        Images that run at a time. A layer for which a ZAP is asked runs image by image. Raises
        UserError where there are several and a layer does not fit.

    Attributes
    ----------
    steps : list of Step
    sites : list of str
        The layers that can have a ZAP.
    shapes : {tensor: (channels, height, width)}
        Those of all tensors that the steps name.
    misfits : {layer: UserError}
        The reason why a layer does not fit; the other methods leave these layers out.
    """

    def __init__(
        self, bundle: Bundle, config: Config, *, latency: int = LATENCY, images: int = 1
    ) -> None:
        self.config = config
        self.latency = latency
        run = as_the_core_runs_it(bundle, config)
        self._plan = plan_images(run, config, images)
        self._layouts = self._plan.layouts
        self.steps = self._plan.steps(run)
        self.shapes = {name: place.shape for name, place in self._layouts.items()}
        self.misfits: dict[str, UserError] = {}
        names = {step.name for step in self.steps}
        self.sites = [node.name for node in zap_sites(bundle.manifest) if node.name in names]
        self._lowered: dict[tuple[str, Pattern | None], _Lowered] = {}
        self._zap_misfits: dict[tuple[str, Pattern], UserError] = {}
        for step in self.steps:
            try:
                self._lower(step, None)
            except UserError as error:
                self.misfits[step.name] = error

    def zap_misfit(self, layer: str, pattern: Pattern) -> UserError | None:
        """Return the reason why a layer cannot have a ZAP with a pattern, or None if it can."""
        if layer in self.misfits:
            return self.misfits[layer]
        key = layer, pattern
        if key not in self._lowered and key not in self._zap_misfits:
            try:
                self._lower(self._step(layer), pattern)
            except UserError as error:
                self._zap_misfits[key] = error
        return self._zap_misfits.get(key)

    def most_skipped(self, layer: str, pattern: Pattern) -> float:
        """Return the share of a layer's activations that a pattern leaves to the predictor."""
        step = self._step(layer)
        height, width = step.conv.output_size(*self._layouts[step.input].shape[1:])
        return 1 - float(pattern.mask(height, width).mean())

    def cycles(self, skips: Skips | None = None) -> dict[str, Cycles]:
        """Return the cycles of each layer that fits, where those that `skips` names have a ZAP.

        They are of one image; where several run at a time, of each of them.

        A share beyond `most_skipped` counts as that. Raises UserError where such a layer does not
        fit with its ZAP.
        """
        return self._chain([s for s in self.steps if s.name not in self.misfits], skips or {})

    def _chain(self, steps: Sequence[Step], skips: Skips) -> dict[str, Cycles]:
        """Return the cycles of layers that run one after the other."""
        totals: dict[str, Cycles] = {}
        before: TileCycles | None = None
        for step in steps:
            total = Cycles(0, 0, 0, 0)
            for tile in self._tiles(step, *skips.get(step.name, (None, 0.0))):
                total += tile.behind(before)
                before = tile
            totals[step.name] = total / self._plan.images
        return totals

    def beats(self, patterns: Mapping[str, Pattern] | None = None) -> dict[str, Beats]:
        """Return the memory traffic of each layer that fits; `patterns` names those with a ZAP.

        It is that of all images that run at a time.
        """
        totals = {}
        for step in self.steps:
            if step.name not in self.misfits:
                lowered = self._lower(step, (patterns or {}).get(step.name))
                parts = (tile_beats(self.config, words) for words in lowered.words)
                totals[step.name] = sum(parts, Beats(0, 0))
        return totals

    def saved(self, layer: str, pattern: Pattern, share: float) -> float:
        """Return the cycles that the network saves by a ZAP in one layer alone.

        They are those of the layer and of the one after it, whose first load may wait for it.
        Raises UserError where the layer does not fit with the ZAP.
        """
        number = next(n for n, step in enumerate(self.steps) if step.name == layer)
        around = [s for s in self.steps[max(number - 1, 0) :][:3] if s.name not in self.misfits]
        off, on = (self._chain(around, skips) for skips in ({}, {layer: (pattern, share)}))
        return sum(off[name].elapsed - on[name].elapsed for name in off)

    def saving(self, pattern: Pattern, share: float) -> Skips:
        """Return the layers whose ZAP makes the network faster if it skips so much, and no other.

        Where a pattern leaves less than `share` to the predictor, all of that is skipped.
        """
        chosen: dict[str, tuple[Pattern, float]] = {
            layer: (pattern, min(share, self.most_skipped(layer, pattern)))
            for layer in self.sites
            if self.zap_misfit(layer, pattern) is None
        }
        off, on = self.cycles(), self.cycles(chosen)
        gains = {layer: off[layer].elapsed - on[layer].elapsed for layer in chosen}
        chosen = {layer: chosen[layer] for layer in chosen if gains[layer] > 0}
        # The layer after one with ZAP may have to wait a few cycles longer, so the sum decides.
        total = self._total(chosen)
        for layer in sorted(chosen, key=lambda layer: gains[layer]):
            without = {name: skips for name, skips in chosen.items() if name != layer}
            if (less := self._total(without)) <= total:
                chosen, total = without, less
        return chosen

    def _total(self, skips: Skips) -> float:
        return sum(layer.elapsed for layer in self.cycles(skips).values())

    def _step(self, layer: str) -> Step:
        return next(step for step in self.steps if step.name == layer)

    def _tiles(self, step: Step, pattern: Pattern | None, share: float) -> list[TileCycles]:
        """Return the cycles of a layer's tiles."""
        lowered = self._lower(step, pattern)
        kept = 1.0
        if pattern is not None:
            predicted = self.most_skipped(step.name, pattern)
            kept = max(1 - share / predicted, 0) if predicted else 1.0
        if kept not in lowered.cycles:
            lowered.cycles[kept] = [
                tile_cycles(self.config, words, kept, self.latency) for words in lowered.words
            ]
        return lowered.cycles[kept]

    def _lower(self, step: Step, pattern: Pattern | None) -> _Lowered:
        """Lower a layer, once; without a pattern it has no ZAP. Raises UserError."""
        key = step.name, pattern
        if key not in self._lowered:
            predictor = None if pattern is None else _blank(step, pattern)
            lowered = lower_step_for_images(self.config, self._plan, step, predictor)
            parts = lowered.parts(self._layouts)
            self._lowered[key] = _Lowered([words for part in parts for words in part.words()])
        return self._lowered[key]


def _blank(step: Step, pattern: Pattern) -> Predictor:
    """Return a predictor of the layer's shape. Cycles do not depend on its numbers."""
    channels = len(step.conv.weight)
    kernel = torch.zeros(channels, 3, 3, dtype=torch.int8)
    numbers = torch.zeros(channels, dtype=torch.int32)
    return Predictor(
        pattern=pattern,
        weight1=kernel,
        bias1=numbers,
        shift1=numbers,
        weight2=kernel,
        threshold=numbers,
    )
