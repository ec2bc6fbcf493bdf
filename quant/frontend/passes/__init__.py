"""Rewriting passes over a `Network`, one a file; none changes what the network returns."""

from quant.frontend.operations import Network
from quant.frontend.passes.clamps import hoist_clamps
from quant.frontend.passes.fold_affine import fold_affine
from quant.frontend.passes.fold_padding import fold_padding
from quant.frontend.passes.host_operations import drop_host_operations
from quant.frontend.passes.selections import selections_as_convolutions
from quant.frontend.passes.shortcuts import mark_shortcuts
from quant.frontend.passes.uneven_pools import split_uneven_pools
from quant.frontend.passes.upsampling import larger_maps_as_convolutions

__all__ = ["simplify"]


def simplify(network: Network) -> None:
    """Rewrite a network, in place, into operations that lowering knows."""
    drop_host_operations(network)
    hoist_clamps(network)
    fold_padding(network)
    fold_affine(network)
    split_uneven_pools(network)
    larger_maps_as_convolutions(network)
    mark_shortcuts(network)
    selections_as_convolutions(network)
    network.drop_unread()
