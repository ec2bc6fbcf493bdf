"""Parameter-free shortcuts: a map that is sliced and padded before it is added."""

from __future__ import annotations

from quant.frontend.operations import INPUT, Add, Network, Operation, Pad, ShortcutView, Slice

__all__ = ["mark_shortcuts"]


def mark_shortcuts(network: Network) -> None:
    """Make one `ShortcutView` of the slices and paddings between a tensor and the `Add` it goes to.

    He et al. (*Deep Residual Learning*, section 3.3, option A) take every second row and column of
    a map and pad its channels with zeros. The core adds such a map without writing it.
    """
    for add in [o for o in network.operations if isinstance(o, Add)]:
        for name in list(add.inputs):
            view = _view(network, name, add)
            if view is not None:
                network.operations.insert(network.operations.index(add), view)
                add.inputs = [view.name if tensor == name else tensor for tensor in add.inputs]
    network.drop_unread()


def _view(network: Network, name: str, add: Operation) -> ShortcutView | None:
    steps = [1, 1]
    before: int | None = None
    tensor = name
    while tensor != INPUT:
        operation = network.operation(tensor)
        if isinstance(operation, Pad):
            *sides, front, _ = operation.amounts
            if any(sides) or before is not None or front < 0 or operation.amounts[5] < 0:
                break
            before = front
        elif isinstance(operation, Slice):
            size = network.shape(operation.inputs[0])[operation.axis]
            last = operation.start + (size - 1) // operation.step * operation.step
            whole = operation.start == 0 and operation.stop > last
            if operation.axis == 0 or not whole:
                break
            steps[operation.axis - 1] *= operation.step
        else:
            break
        tensor = operation.inputs[0]
    if tensor == name or steps[0] != steps[1]:
        return None
    return ShortcutView(
        name=network.new_name(f"{name}:view"),
        inputs=[tensor],
        shape=add.shape,
        where=network.operation(name).where,
        stands_for=name,
        stride=steps[0],
        channel_offset=before or 0,
    )
