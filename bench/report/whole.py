"""The section about whole networks, beside their convolutions alone, and the core's placement."""

from __future__ import annotations

from collections.abc import Sequence

from bench.figures import frames_per_second, macs_per_dsp
from bench.fpga_results import ASSUMED_MHZ, clock_of, find_build
from bench.report.costs import layer_costs, network_costs
from bench.report.observe import Observation
from bench.report.page import Exhibit, Section
from golden.manifest import ConvNode
from hw.contract.config import Config

__all__ = ["whole_networks"]

_HEADINGS = (
    *("layers", "ZAP", "cycles", "speed-up", "images a second"),
    *("MACs a DSP block and cycle", "skips not counted", "µJ"),
)
_FORMS = ("", "", ",.0f", ".2f", ",.2f", ".3f", ".3f", ",.1f")


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
    layers = layer_costs(network, network_costs(network, config), network.point)
    fully_connected = {
        node.name
        for node in network.bundle.manifest.layers
        if isinstance(node, ConvNode) and node.fully_connected
    }
    convolutions = [layer for layer in layers if layer.macs and layer.name not in fully_connected]
    if not convolutions:
        return None
    build = find_build(config)
    clock = clock_of(build)
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
            records.append(dict(zip(_HEADINGS, values, strict=True)))
            rows.append(
                ["" if v is None else format(v, f) for v, f in zip(values, _FORMS, strict=True)]
            )
    return Exhibit(
        name=f"whole-{network.slug}",
        heading=network.where,
        caption=f"{network.images} test images; ZAP on is operating point {network.point}.",
        records=records,
        table=(list(_HEADINGS), rows),
    )
