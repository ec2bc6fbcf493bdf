"""The section about each layer's cycles, energy and traffic at the chosen operating point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from bench.figures import frames_per_second
from bench.fpga_results import clock_of, find_build
from bench.report import style
from bench.report.costs import LayerCost, layer_costs, network_costs, whole_cost
from bench.report.observe import Observation
from bench.report.page import Exhibit, Section
from hw.contract.config import Config

__all__ = ["layer_cycles"]


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
    costs = network_costs(network, config)
    layers = layer_costs(network, costs, network.point)
    if not layers:
        return None
    headings = ["layer", "ofm", "million MACs", "skipped", "lost", "cycles", "with ZAP", "speed-up"]
    headings += ["µJ", "with ZAP", "KiB moved", "with ZAP"]
    off, on = (sum(layer.cycles[run] for layer in layers) for run in (0, 1))
    build = find_build(config)
    clock = clock_of(build)
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
        table=(headings, [*(_row(layer) for layer in layers), _row(whole_cost(layers))]),
    )


def _row(layer: LayerCost) -> list[str]:
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


def _bars(layers: Sequence[LayerCost]) -> Figure:
    figure, axes = style.new(2.9)
    axis = axes[0, 0]
    places = np.arange(len(layers))
    names = [layer.name for layer in layers]
    for run, width, colour, label in (
        (0, 0.8, style.LIGHT, "ZAP off"),
        (1, 0.5, style.ZAP, "ZAP on"),
    ):
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
