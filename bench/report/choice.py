"""The section that answers which operating point to take: loss against speed-up, and its layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from matplotlib.figure import Figure
from plotly import graph_objects
from plotly.subplots import make_subplots

from bench.figures import frames_per_second
from bench.fpga_results import clock_of, find_build
from bench.report import style
from bench.report.costs import LayerCost, layer_costs, network_costs, whole_cost
from bench.report.observe import Observation
from bench.report.page import Exhibit, Interactive, Section
from golden.manifest import OperatingPoint
from hw.contract.config import Config

__all__ = ["operating_points"]

_SHARES = (("skipped", "skipped", style.ZAP), ("lost", "lost", style.WRONG))
_PAIRS = (
    ("cycles", "thousand cycles", 1e-3),
    ("energy", "energy, µJ", 1e-6),
    ("traffic", "memory traffic, KiB", 1 / 1024),
)
"""Field of a layer's cost, the name of its axis, and the factor to that unit."""
_HEADINGS = (
    *("operating point", "layers with ZAP", "lost, pp", "±", "at most, predicted", "MACs skipped"),
    *("cycles", "speed-up", "images/s", "µJ", "KiB moved"),
)
_FONT = {"family": "system-ui, Helvetica Neue, DejaVu Sans, sans-serif", "size": 12}
_LINE = {"showgrid": True, "gridcolor": "#e8e8e8", "linecolor": "#888888", "zeroline": False}


@dataclass(frozen=True)
class _Point:
    """An operating point of a bundle with the costs of its layers."""

    stored: OperatingPoint
    images: int
    layers: list[LayerCost]

    @property
    def name(self) -> str:
        return self.stored.name

    @property
    def drop(self) -> float | None:
        """Percentage points lost on the test images."""
        return None if self.stored.measured is None else self.stored.measured.drop

    @property
    def deviation(self) -> float | None:
        """The standard error of `drop`."""
        return None if self.stored.measured is None else self.stored.measured.deviation

    @property
    def predicted(self) -> float | None:
        """The bound on its loss when it was chosen, in percentage points."""
        return None if self.stored.predicted is None else self.stored.predicted.drop

    @cached_property
    def whole(self) -> LayerCost:
        return whole_cost(self.layers)

    def summary(self, clock: float) -> str:
        """Say what it loses and gains; `clock` is in MHz."""
        whole = self.whole
        lost = "its loss was not measured"
        if self.drop is not None:
            lost = f"loses {self.drop:.2f}"
            if self.deviation is not None:
                lost += f" ± {self.deviation:.2f}"
            lost += " pp"
        rates = " to ".join(f"{frames_per_second(clock, cycles):,.1f}" for cycles in whole.cycles)
        energy, traffic = (after / before - 1 for before, after in (whole.energy, whole.traffic))
        return (
            f"{self.name}: {lost}, {whole.speed_up:.2f} times as fast ({rates} images a second), "
            f"energy {energy:+.1%}, memory traffic {traffic:+.1%}"
        )


def operating_points(networks: Sequence[Observation], config: Config) -> Section:
    """Draw what each operating point of the bundles loses and gains, and its layers."""
    build = find_build(config)
    clock = clock_of(build)
    source = "assumed" if build is None else f"placed and routed on {build.device}"
    return Section(
        "Operating points: loss against speed-up",
        f"Each operating point of the bundle on zapcore_{config.name} at {clock:g} MHz ({source}). "
        "The loss was measured on the test images when the operating point was chosen, and its "
        "bar is one standard error; predicted is the bound that it was chosen by. The "
        "speed-up of the whole network is by the compiler's model, with what is skipped on the "
        "images of this report; energy is by the first-order model of bench/energy.py. Further "
        "right and lower is better. Click on an operating point to see its layers: what each "
        "skips, what it loses (the share of its ofm, by value, that is skipped although not zero, "
        "ε), and what it takes without ZAP and with it.",
        [exhibit for each in networks if (exhibit := _exhibit(each, config, clock)) is not None],
    )


def _exhibit(network: Observation, config: Config, clock: float) -> Exhibit | None:
    costs = network_costs(network, config)
    points = [
        _Point(
            stored=point,
            images=network.points[point.name].images,
            layers=layer_costs(network, costs, point.name),
        )
        for point in network.bundle.manifest.operating_points
    ]
    if not points[0].layers:
        return None
    labelled = "labels" not in network.bundle.manifest.provenance
    top1 = "top-1, %" if labelled else "same class as in float, %"
    off = points[0].whole
    return Exhibit(
        name=f"points-{network.slug}",
        heading=network.where,
        caption=f"Without ZAP the network takes {off.cycles[0]:,.0f} cycles, "
        f"{off.energy[0] * 1e-6:,.1f} µJ and {off.traffic[0] / 1024:,.0f} KiB of memory traffic. "
        "Operating points whose loss is not known are in the list and the table alone.",
        figure=_drawing(points),
        interactive=Interactive(
            overview=_overview(points),
            details={point.name: _layers(point, clock) for point in points},
            selected=network.point,
        ),
        records=[_record(point, clock) for point in points],
        table=(
            (*_HEADINGS[:2], top1, *_HEADINGS[2:]),
            [_row(point, clock) for point in points],
        ),
    )


def _record(point: _Point, clock: float) -> dict[str, object]:
    measured, whole = point.stored.measured, point.whole
    return {
        "operating_point": point.name,
        "layers": sum(layer.zap for layer in point.layers),
        "top1": None if measured is None else measured.top1,
        "drop": point.drop,
        "deviation": point.deviation,
        "predicted_drop": point.predicted,
        "mac_reduction": None if measured is None else measured.mac_reduction,
        "images": point.images,
        "cycles_off": whole.cycles[0],
        "cycles_on": whole.cycles[1],
        "speed_up": whole.speed_up,
        "images_per_second": frames_per_second(clock, whole.cycles[1]),
        "energy_uj": whole.energy[1] * 1e-6,
        "bytes": whole.traffic[1],
    }


def _row(point: _Point, clock: float) -> list[str]:
    record = _record(point, clock)
    forms = {
        "operating_point": "",
        "layers": "d",
        "top1": ".2f",
        "drop": ".2f",
        "deviation": ".2f",
        "predicted_drop": ".2f",
        "mac_reduction": ".1%",
        "cycles_on": ",.0f",
        "speed_up": ".2f",
        "images_per_second": ",.1f",
        "energy_uj": ",.1f",
    }
    cells = ["" if record[name] is None else format(record[name], forms[name]) for name in forms]
    return [*cells, f"{point.whole.traffic[1] / 1024:,.0f}"]


def _drawing(points: Sequence[_Point]) -> Figure:
    """Draw loss against speed-up for print."""
    figure, axes = style.new(3.4)
    axis = axes[0, 0]
    for label, face, losses in (
        ("measured", style.ZAP, [(p, p.drop) for p in points]),
        ("predicted", "white", [(p, p.predicted) for p in points]),
    ):
        known = [(point, loss) for point, loss in losses if loss is not None]
        if known:
            bars = [point.deviation or 0 for point, _ in known]
            axis.errorbar(
                [point.whole.speed_up for point, _ in known],
                [loss for _, loss in known],
                yerr=bars if label == "measured" else None,
                fmt="o", color=style.ZAP, mfc=face, label=label, elinewidth=1, capsize=2,
            )  # fmt: skip
    for point in points:
        if point.drop is not None:
            at = (point.whole.speed_up, point.drop)
            axis.annotate(point.name, at, xytext=(5, 4), textcoords="offset points", fontsize=7)
    axis.axhline(0, color="#888888", lw=0.8, zorder=1)
    axis.axvline(1, color="#888888", lw=0.8, zorder=1)
    axis.set_xlabel("speed-up of the whole network")
    axis.set_ylabel("lost, pp")
    if axis.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper right", ncols=2)
    return figure


def _overview(points: Sequence[_Point]) -> graph_objects.Figure:
    """Draw loss against speed-up; a marker's customdata is its operating point."""
    figure = graph_objects.Figure()
    for label, face, losses in (
        ("predicted", "white", [point.predicted for point in points]),
        ("measured", style.ZAP, [point.drop for point in points]),
    ):
        known = [(p, loss) for p, loss in zip(points, losses, strict=True) if loss is not None]
        figure.add_scatter(
            x=[point.whole.speed_up for point, _ in known],
            y=[loss for _, loss in known],
            customdata=[point.name for point, _ in known],
            text=[point.name for point, _ in known] if label == "measured" else None,
            textposition="top center",
            mode="markers+text" if label == "measured" else "markers",
            name=label,
            marker={"size": 10, "color": face, "line": {"color": style.ZAP, "width": 1.5}},
            error_y=_deviations(label, [point for point, _ in known]),
            hovertemplate="%{customdata}<br>%{x:.2f} times as fast<br>%{y:.2f} pp lost",
        )
    figure.update_xaxes(title="speed-up of the whole network", **_LINE)
    figure.update_yaxes(title="lost, pp", **_LINE)
    for draw, at in ((figure.add_hline, 0), (figure.add_vline, 1)):
        draw(at, line={"color": "#888888", "width": 1}, layer="below")
    _set_look(figure)
    return figure


def _deviations(label: str, points: Sequence[_Point]) -> dict[str, object] | None:
    """The bars of one standard error of measured losses."""
    if label != "measured":
        return None
    bars = [point.deviation or 0 for point in points]
    return {"array": bars, "color": style.ZAP, "thickness": 1, "width": 4}


def _layers(point: _Point, clock: float) -> graph_objects.Figure:
    """Draw the layers of an operating point: shares skipped and lost, then costs off and on."""
    names = [layer.name for layer in point.layers]
    figure = make_subplots(rows=1 + len(_PAIRS), cols=1, shared_xaxes=True, vertical_spacing=0.04)
    for field, label, colour in _SHARES:
        shares = [100 * getattr(layer, field) for layer in point.layers]
        figure.add_bar(
            x=names, y=shares, name=label, marker_color=colour, row=1, col=1,
            hovertemplate="%{y:.2f} %",
        )  # fmt: skip
    figure.update_yaxes(title="share of the ofm, %", row=1, col=1)
    for row, (field, title, factor) in enumerate(_PAIRS, start=2):
        for run, label, colour in ((0, "ZAP off", "#bdbdbd"), (1, "ZAP on", style.ZAP)):
            figure.add_bar(
                x=names,
                y=[factor * getattr(layer, field)[run] for layer in point.layers],
                name=label,
                legendgroup=label,
                showlegend=row == 2,
                marker_color=colour,
                hovertemplate="%{y:,.2f}",
                row=row,
                col=1,
            )
        figure.update_yaxes(title=title, row=row, col=1)
    figure.update_xaxes(type="category", **_LINE)
    figure.update_yaxes(**_LINE)
    figure.update_layout(barmode="group", hovermode="x unified", title=point.summary(clock))
    _set_look(figure)
    return figure


def _set_look(figure: graph_objects.Figure) -> None:
    figure.update_layout(
        template="none",
        font=_FONT,
        title_font_size=13,
        title_x=0.01,
        margin={"l": 70, "r": 20, "t": 80, "b": 60},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    )
