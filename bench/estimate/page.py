"""The estimate as sections: printed on a terminal, or as an HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from bench.estimate.fit import Fit, PartFit, Shortage
from bench.estimate.speed import LayerSpeed, Speed
from bench.report import style
from bench.report.page import Exhibit, Section
from golden.pattern import Pattern
from golden.terminal import Console

__all__ = ["CoreEstimate", "Estimate", "print_page", "sections"]

_GAIN, _LOSS = "green", "red"


@dataclass(frozen=True)
class CoreEstimate:
    """A network on one core; `parts` says what FPGAs hold the core that holds the network."""

    fit: Fit
    parts: dict[str, PartFit]
    speed: Speed

    @property
    def name(self) -> str:
        """The configuration's name, with a star where fields had to be raised."""
        return self.fit.config.name + "*" * bool(self.fit.raised)

    @property
    def footnote(self) -> str:
        """The fields that had to be raised, in words; empty where none had to be."""
        settings = ", ".join(_settings(self.fit.raised))
        return f" * With {settings}, because it does not fit otherwise." if settings else ""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A network on one core or several.

    Parameters
    ----------
    network : str
    image : (channels, height, width)
    weights, macs : int
    pattern : Pattern
        Of the ZAPs.
    shares : sequence of float
        Of the activations that are skipped.
    cores : list of CoreEstimate
    part : str or None
        The FPGA that the user has.
    """

    network: str
    image: tuple[int, int, int]
    weights: int
    macs: int
    pattern: Pattern
    shares: Sequence[float]
    cores: list[CoreEstimate]
    part: str | None

    @property
    def best(self) -> CoreEstimate:
        """The core whose layers are shown first: the fastest on the part, if any is on it.

        A core that holds the whole network comes before one that does not.
        """

        def rank(core: CoreEstimate) -> tuple[bool, bool, float]:
            on_part = any(not part.lacks for part in self.shown_parts(core).values())
            speed = core.speed
            rate = speed.images_a_second(speed.cycles) if speed.layers else 0.0
            return not core.fit.refusals, on_part, rate

        return max(self.cores, key=rank)

    def shown_parts(self, core: CoreEstimate) -> dict[str, PartFit]:
        """Return the FPGAs that the page is about."""
        return core.parts if self.part is None else {self.part: core.parts[self.part]}

    @property
    def title(self) -> str:
        """The network in one line."""
        return (
            f"{self.network}, images of {'x'.join(map(str, self.image))}: "
            f"{self.macs / 1e6:,.1f} million MACs, {self.weights:,} weights"
        )


def sections(estimate: Estimate) -> list[Section]:
    """Make the sections of the page: the whole network first, then layers."""
    best = estimate.best
    others = [core for core in estimate.cores if core is not best]
    found = [_fits(estimate), *_in_the_way(estimate), _whole(estimate), _memory(estimate)]
    found += [
        _layers(estimate, core) for core in (best, *others) if core is best or core.speed.layers
    ]
    return found


def print_page(estimate: Estimate, console: Console) -> None:
    """Print the page; of the layers, those on the best core."""
    console.print(Text(estimate.title, style="bold"), soft_wrap=True)
    for section in sections(estimate):
        for exhibit in section.exhibits:
            if not exhibit.folded:
                console.print()
                console.print(_table(exhibit))
                console.print(exhibit.caption, highlight=False)


def _table(exhibit: Exhibit) -> Table:
    assert exhibit.table is not None
    headings, rows = exhibit.table
    table = Table(title=exhibit.heading, title_justify="left")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*(_coloured(cell) for cell in row))
    return table


def _coloured(cell: str) -> Text:
    """Colour a speed-up by whether it is one."""
    colour = ""
    if cell.endswith("x") and cell[:-1].replace(".", "").isdigit():
        gain = float(cell[:-1])
        colour = _GAIN if gain > 1 else _LOSS if gain < 1 else ""
    return Text(cell, style=colour)


def _fits(estimate: Estimate) -> Section:
    parts = list(estimate.shown_parts(estimate.cores[0]))
    rows, records = [], []
    for core in estimate.cores:
        answer = "yes" if core.fit.fits else "no"
        if core.fit.refusals:
            answer = "not all of it"
        elif core.fit.raised:
            answer = f"no, but with {', '.join(_settings(core.fit.raised))}"
        held = [_holds(core.parts[part]) for part in parts]
        clock = f"{core.speed.clock_mhz:.1f} MHz"
        rows.append([core.fit.config.name, answer, *held, clock])
        keys = ("core", "holds the network", *parts, "clock MHz")
        cells = (core.fit.config.name, answer, *held, core.speed.clock_mhz)
        records.append(dict(zip(keys, cells, strict=True)))
    return Section(
        "Does it fit?",
        "A core is a preset or a configuration; its sizes decide which layers it holds.",
        [
            Exhibit(
                name="fit",
                heading="Does it fit?",
                caption=_clocks(estimate),
                records=records,
                table=(["core", "holds the network", *parts, "clock"], rows),
            )
        ],
    )


def _holds(part: PartFit) -> str:
    if part.lacks:
        return f"no: {part.lacks}"
    return "yes" if part.measured else "perhaps"


def _clocks(estimate: Estimate) -> str:
    """Say where clocks and resources come from."""
    texts = []
    for core in estimate.cores:
        build, name = core.speed.build, core.fit.config.name
        texts.append(
            f"{name}: placed and routed on {build.device} ({build.file.name})"
            if build
            else f"{name}: not placed and routed yet, a clock is assumed; "
            f"make fpga CONFIG=... finds it"
        )
    if any(
        not part.lacks and not part.measured for c in estimate.cores for part in c.parts.values()
    ):
        texts.append("perhaps: multipliers and buffers fit, the logic was not measured")
    return ". ".join(texts) + "."


def _in_the_way(estimate: Estimate) -> list[Section]:
    """List what keeps layers from a core; no section where nothing does."""
    headings = ["parameter", "core", "layers", "the most demanding", "needs", "has", "would do"]
    rows, records = [], []
    for core in estimate.cores:
        for name, group in _by_parameter(core.fit.shortages).items():
            worst = max(group, key=lambda shortage: shortage.demand.need)
            demand = worst.demand
            enough = "nothing" if worst.enough is None else f"{worst.enough:,}"
            first = [name, core.fit.config.name, str(len(group)), worst.layer]
            rows.append([*first, f"{demand.need:,}", f"{demand.have:,}", enough])
        records += [
            {
                "core": core.fit.config.name,
                "layer": shortage.layer,
                "parameter": shortage.demand.field,
                "for_zap": shortage.zap,
                "needs": shortage.demand.need,
                "has": shortage.demand.have,
                "would_do": shortage.enough,
            }
            for shortage in core.fit.shortages
        ]
        for layer, reason in core.fit.refusals.items():
            if all(shortage.layer != layer for shortage in core.fit.shortages):
                rows.append([reason, core.fit.config.name, "1", layer, "", "", "nothing"])
    if not rows:
        return []
    caption = (
        "Parameters are fields of a configuration, a JSON file that CONFIG= takes. Figures below "
        "are for the values that would do; a layer whose parameter is for ZAP runs without it."
    )
    exhibit = Exhibit(
        name="in-the-way",
        heading="What is in the way",
        caption=caption,
        records=records or [{"core": "none"}],
        table=(headings, rows),
    )
    return [Section("What is in the way", "Layers that need more than a core has.", [exhibit])]


def _by_parameter(shortages: Sequence[Shortage]) -> dict[str, list[Shortage]]:
    groups: dict[str, list[Shortage]] = {}
    for shortage in shortages:
        name = f"{shortage.demand.field} (for ZAP)" if shortage.zap else shortage.demand.field
        groups.setdefault(name, []).append(shortage)
    return groups


def _whole(estimate: Estimate) -> Section:
    headings = ["core", "ZAP skips", "cycles", "images a second", "ms", "speed-up", "layers"]
    rows, records = [], []
    for core in estimate.cores:
        speed = core.speed
        if not speed.layers:
            continue
        runs = [("off", speed.cycles, 0)]
        runs += [(f"{share:.0%}", z.cycles, len(z.layers)) for share, z in speed.zap.items()]
        for skips, cycles, layers in runs:
            rate, gain = speed.images_a_second(cycles), speed.cycles / cycles
            values = [core.name, skips, round(cycles), rate, 1000 / rate, gain, layers]
            records.append(dict(zip(headings, values, strict=True)))
            texts = [f"{cycles:,.0f}", _rate(rate), f"{1000 / rate:,.2f}"]
            zapped = ["", ""] if skips == "off" else [f"{gain:.2f}x", str(layers)]
            rows.append([core.name if skips == "off" else "", skips, *texts, *zapped])
    caption = (
        "One image at a time, fully connected layers and poolings included. ZAP is only in the "
        f"layers that it makes faster (their number is in the last column), with pattern "
        f"{estimate.pattern}; the shares are of the activations of these layers. "
        "How much can be skipped at what loss of accuracy is measured with quant.choose."
    ) + _footnotes(estimate)
    exhibit = Exhibit(
        name="network",
        heading="The whole network",
        caption=caption,
        records=records or [{"core": "none"}],
        table=(headings, rows),
    )
    return Section("The whole network", "Cycles and speed of one image.", [exhibit])


def _memory(estimate: Estimate) -> Section:
    headings = ["core", "program", "scratch memory", "traffic an image", "traffic a second"]
    headings += ["utilisation", "MACs a DSP block and cycle"]
    rows, records = [], []
    for core in estimate.cores:
        speed = core.speed
        if not speed.layers:
            continue
        a_second = speed.traffic * speed.images_a_second(speed.cycles)
        dsps = None if speed.build is None else speed.build.use.dsp
        each = None if dsps is None else speed.macs / (speed.cycles * dsps)
        values = [core.name, speed.program, speed.scratch, speed.traffic, a_second]
        records.append(dict(zip(headings, [*values, speed.utilisation, each], strict=True)))
        rows.append(
            [
                core.name,
                _bytes(speed.program),
                _bytes(speed.scratch),
                _bytes(speed.traffic),
                f"{a_second / 1e6:,.0f} MB/s",
                f"{speed.utilisation:.1%}",
                "" if each is None else f"{each:.2f}",
            ]
        )
    caption = (
        "Without ZAP. The program holds the weights; scratch memory holds the tensors between "
        "layers. Utilisation is MACs / (multipliers * cycles)."
    ) + _footnotes(estimate)
    exhibit = Exhibit(
        name="memory",
        heading="Memory, traffic, utilisation",
        caption=caption,
        records=records or [{"core": "none"}],
        table=(headings, rows),
    )
    return Section("Memory, traffic and utilisation", "Memory outside the core.", [exhibit])


def _layers(estimate: Estimate, core: CoreEstimate) -> Section:
    speed = core.speed
    headings = ["layer", "ifm", "ofm", "million MACs", "cycles", "of all", "array busy"]
    headings += ["lanes filled", "KiB moved", *(f"ZAP {share:.0%}" for share in estimate.shares)]
    rows, records = [], []
    for layer in speed.layers:
        utilisation = layer.utilisation(core.speed.config.multipliers)
        busy = layer.busy / layer.cycles
        filled = utilisation / busy if busy else 0.0
        gains = [layer.gain(share) for share in estimate.shares]
        rows.append(
            [
                layer.name,
                *("x".join(map(str, shape)) for shape in (layer.ifm, layer.ofm)),
                f"{layer.macs / 1e6:,.2f}",
                f"{layer.cycles:,.0f}",
                f"{layer.cycles / speed.cycles:.1%}",
                f"{busy:.0%}",
                f"{filled:.0%}",
                f"{layer.traffic / 1024:,.0f}",
                *("" if gain is None else f"{gain:.2f}x" for gain in gains),
            ]
        )
        records.append(
            {
                "layer": layer.name,
                "kind": layer.kind,
                "macs": layer.macs,
                "cycles": round(layer.cycles),
                "busy": round(layer.busy),
                "traffic_bytes": layer.traffic,
                **{f"cycles_zap_{share:g}": layer.zap.get(share) for share in estimate.shares},
            }
        )
    return Section(
        f"Layers on {core.name}",
        "Cycles of each layer, and what ZAP changes if it skips such a share of the layer's "
        "activations: more than 1 is faster, less is slower.",
        [
            Exhibit(
                name=f"layers-{core.fit.config.name}",
                heading=f"Layers on {core.name}",
                caption=_verdict(estimate, speed) + core.footnote,
                records=records or [{"layer": "none"}],
                table=(headings, rows),
                folded=core is not estimate.best,
                figure=_bars(estimate, speed) if speed.layers else None,
            )
        ],
    )


def _verdict(estimate: Estimate, speed: Speed) -> str:
    """Say which layers gain by ZAP and which lose."""
    sites = [layer for layer in speed.layers if layer.zap]
    if not sites:
        return "No layer can have a ZAP: it needs a convolution with a ReLU behind the first one."
    text = ""
    for share in estimate.shares:
        faster = sum(layer.zap[share] < layer.cycles for layer in sites)
        text += f"{share:.0%} skipped: faster {faster} of {len(sites)} layers. "
    limited = [layer for layer in sites if layer.most_skipped < max(estimate.shares)]
    if limited:
        text += (
            f"Pattern {estimate.pattern} leaves less than {max(estimate.shares):.0%} to the "
            f"predictor in {_names(limited)}: all of that is taken as skipped there. "
        )
    slowed = [layer for layer in sites if layer.slowed]
    if slowed:
        text += f"ZAP would slow at every share: {_names(slowed)}."
    else:
        text += "No layer is slower at every share."
    return text


def _names(layers: Sequence[LayerSpeed]) -> str:
    return ", ".join(layer.name for layer in layers)


def _bars(estimate: Estimate, speed: Speed) -> Figure:
    """Draw the cycles of each layer, without ZAP and at the middle of the shares."""
    share = sorted(estimate.shares)[len(estimate.shares) // 2]
    figure, ((axes,),) = style.new(2.9)
    at = np.arange(len(speed.layers))
    off = np.array([layer.cycles for layer in speed.layers])
    on = np.array([min(layer.zap.get(share, layer.cycles), layer.cycles) for layer in speed.layers])
    axes.bar(at, off / 1e3, 0.8, color=style.LIGHT, label="ZAP off")
    axes.bar(at, on / 1e3, 0.5, color="#cc3d6f", label=f"ZAP skips {share:.0%}, where it is faster")
    names = [layer.name for layer in speed.layers]
    axes.set_xticks(at, names, rotation=90 if len(names) > 24 else 40, ha="right", fontsize=6)
    axes.set_ylabel("thousand cycles")
    axes.grid(axis="x", visible=False)
    axes.legend()
    return figure


def _footnotes(estimate: Estimate) -> str:
    return "".join(dict.fromkeys(core.footnote for core in estimate.cores))


def _settings(raised: dict[str, int]) -> list[str]:
    return [f"{name} = {value}" for name, value in raised.items()]


def _rate(value: float) -> str:
    return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def _bytes(count: int | None) -> str:
    if count is None:
        return "unknown"
    return f"{count / 1024:,.0f} KiB" if count < 10 << 20 else f"{count / (1 << 20):,.1f} MiB"
