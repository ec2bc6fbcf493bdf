"""A compiled network: what lies in memory, and where.

Needs neither torch nor the bundle that it was made from, so that a host may be a small one.
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.memory_layout import Place
from hw.contract.config import Config

__all__ = ["DENSE", "Program", "ProgramLayer"]

DENSE = "dense"
"""The operating point without ZAP."""


@dataclass(frozen=True)
class ProgramLayer:
    """A layer as the core runs it.

    Parameters
    ----------
    name : str
        Of the bundle's layer; one with a pooling on its way out is named after its convolution.
    input, residual, output : str
        Tensors; `residual` is empty where nothing is added.
    tiles : {operating point: count}
        How many tiles it is.
    macs : int
        Multiply-accumulates without skips, padding included; 0 for pooling.
    ifm_words, kernel_words, pixels : int
        What its largest tile takes of the ifm buffer, of the weight ring for a channel, and of an
        ofm bank.
    """

    name: str
    input: str
    residual: str
    output: str
    tiles: dict[str, int]
    macs: int
    ifm_words: int
    kernel_words: int
    pixels: int

    @property
    def ends(self) -> tuple[str, str]:
        """Where it reads and where it writes."""
        return self.input, self.output


@dataclass(frozen=True)
class Program:
    """A network in memory.

    Parameters
    ----------
    config : Config
    network : str
    base : int
        Where `image` lies.
    image : bytes
        Headers, descriptors, tables.
    end : int
        The first address after scratch memory, which follows the image.
    points : list of str
        Names of the operating points, in the order of their headers.
    counters : int
        Address of the tiles' counters, `hw.contract.counters.STORED_BYTES` each, in the order in
        which an operating point runs the tiles.
    layers : list of ProgramLayer
    tensors : {name: Place}
        Those between layers, the network's input and output among them. Two may share memory if
        they are not needed at the same time.
    input, output : str
        Their names.
    """

    config: Config
    network: str
    base: int
    image: bytes
    end: int
    points: list[str]
    counters: int
    layers: list[ProgramLayer]
    tensors: dict[str, Place]
    input: str
    output: str
