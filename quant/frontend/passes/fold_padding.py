"""Zeros around a map become the padding of the convolution or pooling that reads it."""

from __future__ import annotations

from quant.frontend.operations import Convolution, Network, Operation, Pad, Pool
from quant.frontend.passes.clamps import never_negative

__all__ = ["fold_padding"]


def fold_padding(network: Network) -> None:
    """Fold each `Pad` of rows and columns into its readers, where all of them can take it.

    A pooling can where no window would lie in the padding alone. For a max pooling, no number may
    be negative either: its own padding is never the largest.
    """
    for pad in [o for o in network.operations if isinstance(o, Pad)]:
        sides, channels = pad.amounts[:4], pad.amounts[4:]
        readers = network.readers(pad.name)
        if any(channels) or min(sides) < 0 or network.returns(pad.name):
            continue
        if readers and all(_takes(network, pad, reader) for reader in readers):
            for reader in readers:
                assert isinstance(reader, Convolution | Pool)
                top, bottom, left, right = (a + b for a, b in zip(reader.padding, sides))
                reader.padding = (top, bottom, left, right)
            network.remove(pad)


def _takes(network: Network, pad: Pad, reader: Operation) -> bool:
    if isinstance(reader, Convolution):
        return True
    if not isinstance(reader, Pool):
        return False
    top, bottom, left, right = (a + b for a, b in zip(reader.padding, pad.amounts))
    height, width = reader.kernel
    fits = max(top, bottom) < height and max(left, right) < width
    return fits and (reader.kind == "average_pool" or never_negative(network, pad.inputs[0]))
