"""Sections about a network's speed: the whole of it, its layers, its operating points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from bench.energy import Activity, activity_energy
from bench.figures import frames_per_second, macs_per_dsp
from bench.fpga_results import ASSUMED_MHZ, find_build
from bench.report import style
from bench.report.observe import Observation
from bench.report.page import Exhibit, Section
from compiler.costs import NetworkCosts, Skips
from golden.bundle import Bundle
from golden.manifest import ConvNode
from hw.contract.config import Config

__all__ = ["layer_cycles", "operating_points", "whole_networks"]

_ON = "#cc3d6f"


@dataclass(frozen=True)
class _Layer:
    """A layer without ZAP and at the operating point: cycles, bytes moved, energy in pJ."""

    name: str
    convolution: bool
    ofm: tuple[int, ...]
    macs: int
    zap: bool
    skipped: float
    lost: float
    cycles: tuple[float, float]
    traffic: tuple[int, int]
    energy: tuple[float, float]


def whole_networks(networks: Sequence[Observation], config: Config) -> Section:
    """List what the whole of each network takes, beside what its convolutions take."""
    build = find_build(config)
    core = f"zapcore_{config.name}, {config.multipliers} multipliers"
    if build is None:
        core += f", at an assumed clock of {ASSUMED_MHZ:g} MHz; make fpga places and routes it"
    else:
        use = build.use
        core += (
            f", placed and routed on {build.device}: {build.clock_mhz:g} MHz, {use.dsp} DSP blocks,"
            f" {use.lut:,} LUTs, {use.bram} block RAMs"
        )
    return Section(
        "Whole networks",
        f"One image at a time on {core}. All layers are fully connected ones and poolings too; "
        "convolutions have the poolings that run with them. Cycles are by the compiler's model at "
        "the skips that the test images have on average, energy by the first-order model of "
        "bench/energy.py.",
        [exhibit for network in networks if (exhibit := _whole_network(network, config))],
    )


def _whole_network(network: Observation, config: Config) -> Exhibit | None:
    layers = _layers(network, NetworkCosts(network.bundle, config))
    convolutions = [layer for layer in layers if layer.convolution]
    if not convolutions:
        return None
    build = find_build(config)
    clock = ASSUMED_MHZ if build is None else build.clock_mhz
    headings = ["layers", "ZAP", "cycles", "speed-up", "images a second"]
    headings += ["MACs a DSP block and cycle", "skips not counted", "µJ"]
    forms = ["", "", ",.0f", ".2f", ",.2f", ".3f", ".3f", ",.1f"]
    rows, records = [], []
    for label, chosen in (("all", layers), ("convolutions", convolutions)):
        macs = sum(layer.macs for layer in chosen)
        computed = macs - sum(layer.macs * layer.skipped for layer in chosen)
        off, on = (sum(layer.cycles[run] for layer in chosen) for run in (0, 1))
        for run, (zap, cycles, done) in enumerate((("off", off, macs), ("on", on, computed))):
            each = [
                None if build is None else macs_per_dsp(number, build.use.dsp, cycles)
                for number in (macs, done)
            ]
            energy = sum(layer.energy[run] for layer in chosen) * 1e-6
            rate = frames_per_second(clock, cycles)
            values = [label, zap, cycles, off / cycles, rate, *each, energy]
            records.append(dict(zip(headings, values, strict=True)))
            rows.append(
                ["" if v is None else format(v, f) for v, f in zip(values, forms, strict=True)]
            )
    return Exhibit(
        name=f"whole-{network.slug}",
        heading=network.where,
        caption=f"{network.images} test images; ZAP on is operating point {network.point}.",
        records=records,
        table=(headings, rows),
    )


def layer_cycles(networks: Sequence[Observation], config: Config) -> Section:
    """Draw and list what each layer takes without ZAP, and at the operating point."""
    return Section(
        "Cycles, energy and traffic of each layer",
        f"One image on zapcore_{config.name} without ZAP, and at the operating point with the "
        "skips that the test images have on average: cycles by the compiler's model, energy by the "
        "first-order model of bench/energy.py. Lost is the share of a layer's ofm, by value, that "
        "is skipped although not zero (ε).",
        [exhibit for network in networks if (exhibit := _cycles(network, config))],
    )


def _cycles(network: Observation, config: Config) -> Exhibit | None:
    costs = NetworkCosts(network.bundle, config)
    layers = _layers(network, costs)
    if not layers:
        return None
    headings = ["layer", "ofm", "million MACs", "skipped", "lost", "cycles", "with ZAP", "speed-up"]
    headings += ["µJ", "with ZAP", "KiB moved", "with ZAP"]
    off, on = (sum(layer.cycles[run] for layer in layers) for run in (0, 1))
    build = find_build(config)
    clock = ASSUMED_MHZ if build is None else build.clock_mhz
    rates = " and ".join(f"{frames_per_second(clock, cycles):,.1f}" for cycles in (off, on))
    measured = "assumed" if build is None else f"placed and routed on {build.device}"
    caption = (
        f"{network.images} test images; ZAP at operating point {network.point}. The whole network "
        f"takes {off:,.0f} cycles without ZAP and {on:,.0f} with it, {off / on:.2f} times as fast: "
        f"{rates} images a second at {clock:g} MHz ({measured})."
    )
    slower = [layer.name for layer in layers if layer.zap and layer.cycles[1] > layer.cycles[0]]
    if slower:
        caption += f" ZAP slows {', '.join(slower)}."
    if costs.misfits:
        reasons = "; ".join(str(error) for error in costs.misfits.values())
        caption += f" Not counted, because they do not fit: {reasons}."
    return Exhibit(
        name=f"cycles-{network.slug}",
        heading=network.where,
        caption=caption,
        figure=_bars(layers),
        records=[
            {
                "layer": layer.name,
                "macs": layer.macs,
                "zap": layer.zap,
                "skipped": layer.skipped,
                "lost": layer.lost,
                "cycles_off": layer.cycles[0],
                "cycles_on": layer.cycles[1],
                "energy_off_uj": layer.energy[0] * 1e-6,
                "energy_on_uj": layer.energy[1] * 1e-6,
                "bytes_off": layer.traffic[0],
                "bytes_on": layer.traffic[1],
            }
            for layer in layers
        ],
        table=(headings, [*(_row(layer) for layer in layers), _row(_whole(layers))]),
    )


def _layers(network: Observation, costs: NetworkCosts) -> list[_Layer]:
    observed = {layer.name: layer for layer in network.layers}
    skips = _skips(network.bundle, network.point, costs, network.skipped[network.point])
    patterns = {name: pattern for name, (pattern, _) in skips.items()}
    cycles, beats = [costs.cycles(), costs.cycles(skips)], [costs.beats(), costs.beats(patterns)]
    config, shapes = costs.config, network.bundle.manifest.activations
    convolutions = {
        node.name
        for node in network.bundle.manifest.layers
        if isinstance(node, ConvNode) and not node.fully_connected
    }
    layers = []
    for step in costs.steps:
        name = step.name
        if name not in cycles[0]:
            continue
        whole = int(np.prod(step.conv.output_size(*shapes[step.input].shape[1:])))
        whole *= len(step.conv.weight)
        share = skips[name][1] if name in skips else 0.0
        traffic = [(b[name].read + b[name].written) * config.bus_bytes for b in beats]
        energies = [
            sum(
                activity_energy(
                    config,
                    [
                        Activity(
                            busy=counted[name].busy,
                            results=whole * (1 - skipped),
                            scored=whole if scored else 0,
                            moved=moved,
                        )
                    ],
                ).values()
            )
            for counted, skipped, scored, moved in zip(
                cycles, (0.0, share), (False, name in skips), traffic, strict=True
            )
        ]
        layers.append(
            _Layer(
                name=name,
                convolution=name in convolutions,
                ofm=shapes[step.output].shape,
                macs=step.macs,
                zap=name in skips,
                skipped=share,
                lost=observed[name].lost if name in skips else 0.0,
                cycles=(cycles[0][name].elapsed, cycles[1][name].elapsed),
                traffic=(traffic[0], traffic[1]),
                energy=(energies[0], energies[1]),
            )
        )
    return layers


def _skips(bundle: Bundle, point: str, costs: NetworkCosts, skipped: Mapping[str, float]) -> Skips:
    """Return the skips of an operating point, in the layers that fit with their ZAP."""
    _, predictors = bundle.at(point)
    return {
        name: (zap.pattern, skipped[name])
        for name, zap in predictors.items()
        if costs.zap_misfit(name, zap.pattern) is None
    }


def _whole(layers: Sequence[_Layer]) -> _Layer:
    def both(field: str) -> tuple[float, float]:
        pairs = [getattr(layer, field) for layer in layers]
        return sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)

    traffic = both("traffic")
    return _Layer(
        name="all",
        convolution=False,
        ofm=(),
        macs=sum(layer.macs for layer in layers),
        zap=True,
        skipped=float("nan"),
        lost=float("nan"),
        cycles=both("cycles"),
        traffic=(int(traffic[0]), int(traffic[1])),
        energy=both("energy"),
    )


def _row(layer: _Layer) -> list[str]:
    def both(values: tuple[float, float], form: str) -> list[str]:
        return [format(values[0], form), format(values[1], form) if layer.zap else ""]

    known = layer.zap and layer.skipped == layer.skipped
    energies = (layer.energy[0] * 1e-6, layer.energy[1] * 1e-6)
    kib = (layer.traffic[0] / 1024, layer.traffic[1] / 1024)
    return [
        layer.name,
        "x".join(map(str, layer.ofm)),
        f"{layer.macs / 1e6:,.2f}",
        f"{layer.skipped:.1%}" if known else "",
        f"{layer.lost:.2%}" if known else "",
        *both(layer.cycles, ",.0f"),
        f"{layer.cycles[0] / layer.cycles[1]:.2f}" if layer.zap else "",
        *both(energies, ",.2f"),
        *both(kib, ",.0f"),
    ]


def _bars(layers: Sequence[_Layer]) -> Figure:
    figure, axes = style.new(2.9)
    axis = axes[0, 0]
    places = np.arange(len(layers))
    names = [layer.name for layer in layers]
    for run, width, colour, label in ((0, 0.8, style.LIGHT, "ZAP off"), (1, 0.5, _ON, "ZAP on")):
        heights = [layer.cycles[run] / 1e3 for layer in layers]
        axis.bar(places, heights, width, color=colour, label=label)
    long = max(map(len, names)) * len(names) > 100
    axis.set_xticks(
        places, names, rotation=60 if long else 0, ha="right" if long else "center", fontsize=7
    )
    axis.grid(visible=False, axis="x")
    axis.set_ylabel("thousand cycles")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


def operating_points(networks: Sequence[Observation], config: Config) -> Section:
    """List the operating points of each bundle: what they lose, and how fast they are."""
    return Section(
        "Operating points of the bundle",
        "Figures that quant.choose or quant/export.py stored with each operating point, on the "
        f"test images. The speed-up on zapcore_{config.name} is by the compiler's model, with what "
        "is skipped on the images of this report.",
        [_points(network, config) for network in networks],
    )


def _points(network: Observation, config: Config) -> Exhibit:
    costs = NetworkCosts(network.bundle, config)
    off = sum(layer.elapsed for layer in costs.cycles().values())
    labelled = "labels" not in network.bundle.manifest.provenance
    top1 = "top-1, %" if labelled else "same class as in float, %"
    headings = ["operating point", "layers with ZAP", top1, "lost, pp", "lost, predicted"]
    headings += ["MACs skipped", "cycles", "speed-up"]
    rows, records = [], []
    for point in network.bundle.manifest.operating_points:
        skips = _skips(network.bundle, point.name, costs, network.skipped[point.name])
        on = sum(layer.elapsed for layer in costs.cycles(skips).values())
        measured, predicted = point.measured, point.predicted
        values = [
            point.name,
            len(skips),
            None if measured is None else measured.top1,
            None if measured is None else measured.drop,
            None if predicted is None else predicted.drop,
            None if measured is None else measured.mac_reduction,
            on,
            off / on if on else None,
        ]
        forms = ["", "d", ".2f", ".2f", ".2f", ".1%", ",.0f", ".2f"]
        rows.append(
            ["" if v is None else format(v, form) for v, form in zip(values, forms, strict=True)]
        )
        records.append(dict(zip(headings, values, strict=True)))
    return Exhibit(
        name=f"points-{network.slug}",
        heading=network.where,
        caption=f"Without ZAP the network takes {off:,.0f} cycles.",
        records=records,
        table=(headings, rows),
    )
