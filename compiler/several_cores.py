"""Programs for several cores: each core runs images of its own, with one copy of the weights.

All cores are given the same window. A program for N cores has the headers and the descriptors N
times, the tables once, and then the scratch memory N times:

    headers of core 0, of core 1, ... | descriptors of core 0, ... | tables | scratch of core 0, ...

A core's register PROGRAM says which headers are its own. The parts of all cores are alike: what
differs are the addresses in scratch memory, by `core_bytes` from one core to the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from compiler.costs import LATENCY
from compiler.cycles import Kept, layer_cycles
from compiler.memory_layout import aligned
from compiler.program import DENSE, Program, check_window, pack_tiles, size_of_tiles
from compiler.traffic import tile_beats
from golden.arithmetic import ceil_div
from hw.contract.system import WIDEST_PORT, System

__all__ = ["LayerForecast", "expectation", "for_cores", "forecast", "speed_up"]

_SCRATCH = ("ifm_address", "residual_address", "ofm_address", "halo_address", "counters")
"""Words of a descriptor that are addresses in scratch memory, or 0 where there is no such thing."""
_TABLES = ("parameters", "weights")
"""Words of a descriptor that are addresses of tables."""


def for_cores(program: Program, cores: int) -> Program:
    """Return a program for one core as one for several.

    Raises UserError where it needs more memory than a window has.
    """
    assert program.cores == 1
    tiles = {point: program.descriptors(point) for point in program.points}
    front = size_of_tiles([len(of_point) for of_point in tiles.values()])
    tables = program.image[aligned(front) :]
    tables_moved = aligned(cores * front) - aligned(front)
    scratch = len(program.image)
    moved = _whole_words(scratch + tables_moved) - scratch
    core_bytes = _whole_words(program.end - scratch)
    end = scratch + moved + cores * core_bytes
    check_window(end, cores)

    def shifted(words: Mapping[str, int], core: int) -> dict[str, int]:
        changed = dict(words)
        for name in _TABLES:
            changed[name] += tables_moved
        for name in _SCRATCH:
            if changed[name] >= scratch:
                changed[name] += moved + core * core_bytes
        return changed

    of_all = [
        [shifted(tile, core) for tile in of_point]
        for core in range(cores)
        for of_point in tiles.values()
    ]
    image = pack_tiles(program.config, of_all).ljust(aligned(cores * front), b"\0") + tables
    return replace(
        program,
        image=image.ljust(scratch + moved, b"\0"),
        end=end,
        counters=program.counters + moved,
        tensors={
            name: replace(place, address=place.address + moved)
            for name, place in program.tensors.items()
        },
        cores=cores,
        core_bytes=core_bytes,
    )


def _whole_words(size: int) -> int:
    """A size rounded up to words of the widest port, so that no two cores share one."""
    return ceil_div(size, WIDEST_PORT // 8) * (WIDEST_PORT // 8)


@dataclass(frozen=True)
class LayerForecast:
    """The cycle model's expectation of a layer on several cores that all run the network.

    Parameters
    ----------
    name : str
    alone : float
        Cycles on one core that has the port for itself.
    port : float
        Cycles in which the port moves the layer's beats of all cores.
    """

    name: str
    alone: float
    port: float

    @property
    def together(self) -> float:
        """Cycles on several cores: the port's where the memory is the limit."""
        return max(self.alone, self.port)


def forecast(
    program: Program,
    system: System,
    point: str = DENSE,
    kept: Mapping[str, Kept] | None = None,
    latency: int = LATENCY,
) -> list[LayerForecast]:
    """Expected cycles of each layer on one core and on several.

    `kept` is as `compiler.cycles.layer_cycles` takes it. The port moves a word of its width in a
    cycle, in each direction.
    """
    alone = layer_cycles(program, point, kept, latency)
    port = dict.fromkeys(alone, 0.0)
    for words in program.descriptors(point):
        beats = tile_beats(program.config, words)
        words_moved = max(beats.read, beats.written) / system.ratio
        port[program.layers[words["layer"]].name] += system.cores * words_moved
    return [LayerForecast(name, alone[name].elapsed, port[name]) for name in alone]


def speed_up(layers: list[LayerForecast], cores: int) -> float:
    """Images a second of several cores, by those of one."""
    return cores * sum(layer.alone for layer in layers) / sum(layer.together for layer in layers)


def expectation(program: Program, system: System) -> str:
    """Say how much faster several cores are expected to be than one, and what limits them."""
    layers = forecast(program, system)
    limited = [layer.name for layer in layers if layer.port > layer.alone]
    limits = (
        f"the memory is the limit in {', '.join(limited)}"
        if limited
        else "in no layer is the memory the limit"
    )
    return (
        f"{system.cores} cores on a port of {system.memory_bits} bits: "
        f"{speed_up(layers, system.cores):.2f} times the images a second of one, "
        f"by the cycle model; {limits}"
    )
