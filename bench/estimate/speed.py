"""Cycles, traffic and memory of a network on a core, and what ZAP changes, by the models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.estimate.fit import Fit
from bench.figures import frames_per_second
from bench.fpga_results import Build, clock_of, find_build
from compiler.build import compile_bundle
from golden.bundle import Bundle
from golden.manifest import ConvNode
from golden.pattern import Pattern
from hw.contract.config import Config

__all__ = ["LayerSpeed", "Speed", "ZapSpeed", "speed"]


@dataclass(frozen=True, kw_only=True)
class LayerSpeed:
    """A layer on a core.

    Parameters
    ----------
    name : str
    kind : str
        convolution, fully connected or pooling.
    ifm, ofm : (channels, height, width)
        What it reads, and what it hands out: the pooled map where a pooling runs with it.
    macs : int
        Padding included; 0 for a pooling.
    cycles : float
    busy : float
        Cycles in which the array multiplies.
    traffic : int
        Bytes read from memory and written to it, without ZAP.
    zap : {share: cycles}
        With a ZAP that skips such a share of the layer's activations; empty where it has none.
    most_skipped : float
        The share of its activations that the pattern leaves to the predictor.
    """

    name: str
    kind: str
    ifm: tuple[int, ...]
    ofm: tuple[int, ...]
    macs: int
    cycles: float
    busy: float
    traffic: int
    zap: dict[float, float]
    most_skipped: float

    def utilisation(self, multipliers: int) -> float:
        """Return MACs / (multipliers * cycles)."""
        return self.macs / (multipliers * self.cycles)

    def gain(self, share: float) -> float | None:
        """Return cycles without ZAP / cycles with one that skips `share`."""
        return self.cycles / self.zap[share] if share in self.zap else None

    @property
    def slowed(self) -> bool:
        """True if ZAP makes it slower at every share."""
        return bool(self.zap) and all(on > self.cycles for on in self.zap.values())


@dataclass(frozen=True)
class ZapSpeed:
    """The whole network with ZAP in those layers that it makes faster."""

    cycles: float
    layers: list[str]


@dataclass(frozen=True, kw_only=True)
class Speed:
    """A network on a core.

    Parameters
    ----------
    config : Config
    build : Build or None
        Where the core was placed and routed.
    clock_mhz : float
    layers : list of LayerSpeed
        In the order in which they run; those that do not fit are missing.
    zap : {share: ZapSpeed}
    program, scratch : int or None
        Bytes of memory; None if a layer does not fit.
    """

    config: Config
    build: Build | None
    clock_mhz: float
    layers: list[LayerSpeed]
    zap: dict[float, ZapSpeed]
    program: int | None
    scratch: int | None

    @property
    def cycles(self) -> float:
        """Cycles of one image without ZAP."""
        return sum(layer.cycles for layer in self.layers)

    @property
    def macs(self) -> int:
        """MACs of one image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def traffic(self) -> int:
        """Bytes between core and memory for one image, without ZAP."""
        return sum(layer.traffic for layer in self.layers)

    @property
    def utilisation(self) -> float:
        """MACs / (multipliers * cycles), without ZAP."""
        return self.macs / (self.config.multipliers * self.cycles)

    def images_a_second(self, cycles: float) -> float:
        """Return how many images a second follow from the cycles of one."""
        return frames_per_second(self.clock_mhz, cycles)

    @property
    def slowed(self) -> list[str]:
        """The layers that ZAP makes slower at every share."""
        return [layer.name for layer in self.layers if layer.slowed]


def speed(
    bundle: Bundle, found: Fit, pattern: Pattern, shares: Sequence[float], clock: float | None
) -> Speed:
    """Count a network's cycles on the configuration that holds it.

    `clock` is in MHz; None takes it from the results of `make fpga`.
    """
    costs, config = found.costs, found.enough
    build = find_build(config) or find_build(found.config)
    off, beats = costs.cycles(), costs.beats()
    fitting = [s for s in costs.sites if costs.zap_misfit(s, pattern) is None]
    most = {site: costs.most_skipped(site, pattern) for site in fitting}
    on = {
        share: costs.cycles({site: (pattern, min(share, most[site])) for site in fitting})
        for share in shares
    }
    kinds = _kinds(bundle)
    shapes = costs.shapes
    layers = [
        LayerSpeed(
            name=step.name,
            kind=kinds.get(step.name, "pooling"),
            ifm=shapes[step.input],
            ofm=shapes[step.output],
            macs=step.macs,
            cycles=off[step.name].elapsed,
            busy=off[step.name].busy,
            traffic=(beats[step.name].read + beats[step.name].written) * config.bus_bytes,
            zap={s: on[s][step.name].elapsed for s in shares} if most.get(step.name) else {},
            most_skipped=most.get(step.name, 0.0),
        )
        for step in costs.steps
        if step.name in off
    ]
    zap = {}
    for share in shares:
        chosen = costs.saving(pattern, share)
        total = sum(layer.elapsed for layer in costs.cycles(chosen).values())
        zap[share] = ZapSpeed(total, list(chosen))
    program = scratch = None
    if not found.refusals:
        compiled = compile_bundle(bundle, config)
        program, scratch = len(compiled.image), compiled.end - len(compiled.image)
    return Speed(
        config=config,
        build=build,
        clock_mhz=clock or clock_of(build),
        layers=layers,
        zap=zap,
        program=program,
        scratch=scratch,
    )


def _kinds(bundle: Bundle) -> Mapping[str, str]:
    """The kind of each layer with weights."""
    return {
        node.name: "fully connected" if node.fully_connected else "convolution"
        for node in bundle.manifest.layers
        if isinstance(node, ConvNode)
    }
