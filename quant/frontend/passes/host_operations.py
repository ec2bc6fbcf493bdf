"""Operations at the network's end that the host computes: softmax and its like."""

from golden.errors import UserError
from quant.frontend.operations import INPUT, Network, OnHost

__all__ = ["drop_host_operations"]


def drop_host_operations(network: Network) -> None:
    """Let each output be what the first such operation reads; the output names what follows it.

    Raises UserError where the core would have to go on after one.
    """
    for output in network.outputs:
        while output.tensor != INPUT:
            last = network.operation(output.tensor)
            if not isinstance(last, OnHost):
                break
            output.on_host.insert(0, last)
            output.tensor = last.inputs[0]
            output.shape = network.shape(output.tensor)
    network.drop_unread()
    for operation in network.operations:
        if isinstance(operation, OnHost):
            raise UserError(
                f"{operation.where}: cannot be lowered: {operation.kind} can only be a network's"
                " last operation, which is left to the host"
            )
