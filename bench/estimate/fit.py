"""Compares a network with configurations: what is in the way, and what FPGAs hold the core."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace

from bench.designs import block_rams
from bench.fpga_results import Build, find_build
from compiler.costs import NetworkCosts
from compiler.lowering.misfit import Demand, Misfit
from golden.bundle import Bundle
from golden.errors import UserError
from golden.pattern import Pattern
from hw.contract.config import Config
from hw.fpga.ecp5 import DEVICES, Use

__all__ = ["Fit", "PartFit", "Shortage", "fit", "fit_parts"]

_FIELDS = {field.name for field in fields(Config)}
_NAMES = {"lut": "LUTs", "ff": "flip-flops", "dsp": "DSP blocks", "bram": "block RAMs"}


@dataclass(frozen=True)
class Shortage:
    """A layer that needs more of a field than a configuration has.

    Parameters
    ----------
    layer : str
    demand : Demand
    enough : int or None
        The least value of the field that would do; None where no core can have it.
    zap : bool
        Whether the layer fits without ZAP.
    """

    layer: str
    demand: Demand
    enough: int | None
    zap: bool = False


@dataclass(frozen=True)
class Fit:
    """A network on a configuration.

    Parameters
    ----------
    config : Config
        The one that was asked for.
    shortages : list of Shortage
    refusals : {layer: reason}
        Layers that no value of a field makes fit.
    enough : Config
        `config`, with fields raised as far as the shortages without ZAP need it.
    costs : NetworkCosts
        On `enough`; layers of `refusals` are not in it.
    """

    config: Config
    shortages: list[Shortage]
    refusals: dict[str, str]
    enough: Config
    costs: NetworkCosts = field(repr=False)

    @property
    def fits(self) -> bool:
        """True if the configuration that was asked for holds the network, without ZAP at least."""
        return self.enough == self.config and not self.refusals

    @property
    def raised(self) -> dict[str, int]:
        """The fields of `enough` that are larger than those that were asked for."""
        return {
            name: value
            for name, value in asdict(self.enough).items()
            if value != getattr(self.config, name)
        }


@dataclass(frozen=True)
class PartFit:
    """A core on an FPGA.

    Parameters
    ----------
    lacks : str
        What the FPGA has too little of; empty if it holds the core.
    measured : bool
        True if the core's resources come from `make fpga`; else they are a lower bound.
    """

    lacks: str
    measured: bool


def fit(bundle: Bundle, config: Config, pattern: Pattern) -> Fit:
    """Lower each layer of a network for a configuration, and for a larger one where it must be."""
    costs = NetworkCosts(bundle, config)
    demands = _demands(costs.misfits)
    shortages = [
        Shortage(layer, demand, _enough(config, demand))
        for layer, lacking in demands.items()
        for demand in lacking
    ]
    enough = config
    while raised := _raised(enough, costs.misfits):
        enough = raised
        costs = NetworkCosts(bundle, enough)
    zap = {layer: costs.zap_misfit(layer, pattern) for layer in costs.sites}
    shortages += [
        Shortage(
            layer,
            replace(demand, have=getattr(config, demand.field)),
            _enough(enough, demand),
            zap=True,
        )
        for layer, lacking in _demands({n: e for n, e in zap.items() if e is not None}).items()
        if layer not in costs.misfits
        for demand in lacking
    ]
    refusals = {layer: str(error) for layer, error in costs.misfits.items()}
    return Fit(config, shortages, refusals, enough, costs)


def fit_parts(config: Config, origin: Config) -> dict[str, PartFit]:
    """Compare a core with every FPGA.

    `origin` is the configuration that `config` was raised from: where that was measured, only the
    block RAMs of larger buffers come on top.
    """
    build = find_build(config)
    use, measured = _least_use(config, find_build(origin), origin), False
    if build is not None:
        use, measured = build.use, True
    return {name: PartFit(_lacks(use, device.holds), measured) for name, device in DEVICES.items()}


def _least_use(config: Config, build: Build | None, origin: Config) -> Use:
    if build is None:
        predictor = config.predictor_dsps if config.predictor else 0
        return Use(dsp=config.multipliers + predictor, bram=block_rams(config))
    return build.use + Use(bram=block_rams(config) - block_rams(origin))


def _lacks(use: Use, holds: Use) -> str:
    have = asdict(holds)
    return ", ".join(
        f"{need} of {have[kind]} {_NAMES[kind]}"
        for kind, need in asdict(use).items()
        if need > have[kind]
    )


def _demands(misfits: Mapping[str, UserError]) -> dict[str, tuple[Demand, ...]]:
    return {n: error.demands for n, error in misfits.items() if isinstance(error, Misfit)}


def _enough(config: Config, demand: Demand) -> int | None:
    """The least power of two that meets a demand, if a core can have it."""
    value = 1 << (demand.need - 1).bit_length()
    if demand.field not in _FIELDS:
        return None
    try:
        replace(config, **{demand.field: value})  # type: ignore[arg-type]
    except UserError:
        return None
    return value


def _raised(config: Config, misfits: Mapping[str, UserError]) -> Config | None:
    """Return the configuration with fields raised to what is demanded, or None if nothing helps."""
    values: dict[str, int] = {}
    for demands in _demands(misfits).values():
        needed = {demand.field: _enough(config, demand) for demand in demands}
        # A layer that one field keeps out for good is no reason to raise others.
        if None not in needed.values():
            for name, value in needed.items():
                values[name] = max(values.get(name, 0), value or 0)
    return replace(config, **values) if values else None  # type: ignore[arg-type]
