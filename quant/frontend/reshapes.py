"""Reshapes and transposes of tensors, which every front end meets in the same forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quant.frontend.operations import INPUT, Flatten, Network, Operation, Shuffle

__all__ = ["transposed", "under_shape"]


def under_shape(network: Network, common: dict[str, Any]) -> Operation | str:
    """The only input of an operation to be, under the shape of that operation.

    Shapes that it had in between are forgotten. `common` is what every operation has. Returns a new
    operation, or the name of the tensor where it has that shape already.
    """
    source = _before_flattening(network, common["inputs"][0])
    if network.shape(source) == common["shape"]:
        return source
    return Flatten(**{**common, "inputs": [source]})


def transposed(
    network: Network, common: dict[str, Any], order: Sequence[int]
) -> Operation | str | None:
    """The only input with its axes, images included, in another order; None where impossible.

    Axes of length 1 can go anywhere, which is a reshape. A map whose channels were split over two
    axes can have these swapped: that is the channel shuffle of ShuffleNet.
    """
    if order[0] != 0:
        return None
    (tensor,) = common["inputs"]
    sizes = (0, *network.shape(tensor))
    moved = [axis for axis in order if sizes[axis] != 1]
    if moved == sorted(moved):
        return under_shape(network, common)
    source = _before_flattening(network, tensor)
    shape = network.shape(source)
    if list(order) != [0, 2, 1, 3, 4] or len(shape) != 3 or shape[1:] != sizes[3:]:
        return None
    name = network.new_name(f"{common['name']}:shuffled")
    shuffle = {**common, "name": name, "inputs": [source], "shape": shape}
    network.operations.append(Shuffle(**shuffle, groups=sizes[1], stands_for=None))
    return Flatten(**{**common, "inputs": [name]})


def _before_flattening(network: Network, name: str) -> str:
    while name != INPUT and isinstance(operation := network.operation(name), Flatten):
        (name,) = operation.inputs
    return name
