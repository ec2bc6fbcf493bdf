"""Operations at the network's end that the host computes: softmax and its like."""

from golden.errors import UserError
from quant.frontend.operations import INPUT, Network, OnHost

__all__ = ["drop_host_operations"]


def drop_host_operations(network: Network) -> None:
    """Let the network return what the last such operation reads; name it in `network.on_host`.

    Raises UserError where the core would have to go on after one.
    """
    while network.output != INPUT:
        last = network.operation(network.output)
        if not isinstance(last, OnHost):
            break
        network.on_host.insert(0, last.kind)
        network.output = last.inputs[0]
    network.drop_unread()
    for operation in network.operations:
        if isinstance(operation, OnHost):
            raise UserError(
                f"{operation.where}: cannot be lowered: {operation.kind} can only be a network's"
                " last operation, which is left to the host"
            )
