"""The small graph that every front end ends in: the operations of a network, in order, in float.

An `Operation` reads tensors by name and writes one tensor, which has the operation's name. The
network's images are the tensor `INPUT`. Shapes leave out the images: a map is (channels, height,
width), a vector is (length,). Every operation can be run, so a pass that rewrites a network is
tested by running it before and after (`quant.frontend.passes`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "INPUT",
    "Add",
    "Affine",
    "Clamp",
    "Concat",
    "Convolution",
    "DepthToSpace",
    "Dropout",
    "Flatten",
    "Linear",
    "Network",
    "OnHost",
    "Operation",
    "Output",
    "Pad",
    "Pool",
    "Shape",
    "ShortcutView",
    "Shuffle",
    "Slice",
    "TransposedConvolution",
    "UnevenPool",
    "Upsample",
    "View",
    "Windows",
    "pair",
    "per_channel",
]

INPUT = "input"
Shape = tuple[int, ...]
Windows = tuple[tuple[int, int], ...]
"""The windows of a pooling along an axis: first element, and the one behind the last."""


@dataclass(kw_only=True)
class Operation:
    """One operation.

    Parameters
    ----------
    name : str
        The tensor that it writes.
    inputs : list of str
        The tensors that it reads.
    shape : tuple of int
        The shape of what it writes, without the images.
    where : str
        The module or node that it comes from, for messages.
    stands_for : str or None
        The tensor of the imported network that has the same values; None where none has. Passes
        keep it right, so that a difference can be traced to its layer.
    """

    name: str
    inputs: list[str]
    shape: Shape
    where: str
    stands_for: str | None = None

    def __post_init__(self) -> None:
        if self.stands_for is None:
            self.stands_for = self.name

    def run(self, *tensors: Tensor) -> Tensor:
        """The operation on its inputs, each (images, *shape)."""
        raise NotImplementedError


@dataclass(kw_only=True)
class Convolution(Operation):
    """A 2D convolution.

    Parameters
    ----------
    weight : float (c_o, c_i / groups, k_h, k_w)
    bias : float (c_o,)
    stride, dilation : (vertical, horizontal)
    padding : (top, bottom, left, right)
        Negative numbers leave out rows and columns.
    copies : bool
        Its results are numbers that it reads, or zero.
    keeps_scale : bool
        They are to be stored to the same scale, so that no rounding changes them.
    """

    weight: Tensor
    bias: Tensor
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    copies: bool = False
    keeps_scale: bool = False

    def run(self, *tensors: Tensor) -> Tensor:
        top, bottom, left, right = self.padding
        padded = F.pad(tensors[0], (left, right, top, bottom))
        weight, bias = self.weight.to(padded), self.bias.to(padded)
        return F.conv2d(padded, weight, bias, self.stride, 0, self.dilation, self.groups)


@dataclass(kw_only=True)
class TransposedConvolution(Operation):
    """A 2D transposed convolution: each pixel adds a kernel's worth of results.

    Parameters
    ----------
    weight : float (c_i, c_o / groups, k_h, k_w)
    bias : float (c_o,)
    stride, dilation : (vertical, horizontal)
    cropping : (top, bottom, left, right)
        Rows and columns that the result lacks: PyTorch's padding. Negative numbers add zeros.
    """

    weight: Tensor
    bias: Tensor
    stride: tuple[int, int] = (1, 1)
    cropping: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def run(self, *tensors: Tensor) -> Tensor:
        (tensor,) = tensors
        weight, bias = self.weight.to(tensor), self.bias.to(tensor)
        top, bottom, left, right = self.cropping
        whole = F.conv_transpose2d(
            tensor, weight, None, self.stride, 0, 0, self.groups, self.dilation
        )
        return F.pad(whole, (-left, -right, -top, -bottom)) + bias.view(-1, 1, 1)


@dataclass(kw_only=True)
class Linear(Operation):
    """A fully connected layer: `weight` is float (c_o, c_i), `bias` float (c_o,)."""

    weight: Tensor
    bias: Tensor

    def run(self, *tensors: Tensor) -> Tensor:
        return F.linear(tensors[0], self.weight.to(tensors[0]), self.bias.to(tensors[0]))


@dataclass(kw_only=True)
class Affine(Operation):
    """Each channel times `gain` plus `offset`, both float (channels,): BatchNorm, or arithmetic."""

    gain: Tensor
    offset: Tensor

    def run(self, *tensors: Tensor) -> Tensor:
        axes = (-1,) + (1,) * (len(self.shape) - 1)
        gain, offset = (v.to(tensors[0]).view(axes) for v in (self.gain, self.offset))
        return tensors[0] * gain + offset


@dataclass(kw_only=True)
class Clamp(Operation):
    """Everything is limited to `low` .. `high`: a ReLU from 0 to infinity, a ReLU6 from 0 to 6."""

    low: float = 0
    high: float = math.inf

    def run(self, *tensors: Tensor) -> Tensor:
        return tensors[0].clamp(self.low, self.high)


@dataclass(kw_only=True)
class Add(Operation):
    """The sum of two tensors of one shape."""

    def run(self, *tensors: Tensor) -> Tensor:
        return tensors[0] + tensors[1]


@dataclass(kw_only=True)
class Pool(Operation):
    """Max or average pooling.

    Parameters
    ----------
    kernel, stride : (vertical, horizontal)
    padding : (top, bottom, left, right)
        An average counts padding as zeros; a maximum never takes it.
    flat : bool
        The result is a vector of channels instead of a map.
    """

    kind: Literal["max_pool", "average_pool"]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    flat: bool = False

    def run(self, *tensors: Tensor) -> Tensor:
        top, bottom, left, right = self.padding
        largest = self.kind == "max_pool"
        padded = F.pad(tensors[0], (left, right, top, bottom), value=-math.inf if largest else 0)
        pool = F.max_pool2d if largest else F.avg_pool2d
        pooled = pool(padded, self.kernel, self.stride)
        return pooled.flatten(1) if self.flat else pooled


@dataclass(kw_only=True)
class UnevenPool(Operation):
    """Max or average pooling whose windows differ in size or in distance.

    An average is that of the window's elements, however many they are.
    """

    kind: Literal["max_pool", "average_pool"]
    rows: Windows
    columns: Windows

    def run(self, *tensors: Tensor) -> Tensor:
        rows = self._along(tensors[0], 2, self.rows)
        return self._along(rows, 3, self.columns)

    def _along(self, tensor: Tensor, axis: int, windows: Windows) -> Tensor:
        pool = torch.amax if self.kind == "max_pool" else torch.mean
        parts = [tensor.narrow(axis, start, stop - start) for start, stop in windows]
        return torch.cat([pool(part, axis, keepdim=True) for part in parts], axis)


@dataclass(kw_only=True)
class Upsample(Operation):
    """Every pixel `factors` times, (vertical, horizontal): nearest-neighbour upsampling."""

    factors: tuple[int, int]

    def run(self, *tensors: Tensor) -> Tensor:
        vertical, horizontal = self.factors
        return tensors[0].repeat_interleave(vertical, 2).repeat_interleave(horizontal, 3)


@dataclass(kw_only=True)
class DepthToSpace(Operation):
    """The channels of each pixel as a block of pixels, `block` (rows, columns).

    Channel number (c * rows + row) * columns + column of the input becomes channel c; where
    `blocks_first`, it is number (row * columns + column) * channels + c.
    """

    block: tuple[int, int]
    blocks_first: bool = False

    def sources(self) -> Tensor:
        """The input's channel that each (channel, row, column) of a block is."""
        channels, (rows, columns) = self.shape[0], self.block
        numbers = torch.arange(channels * rows * columns)
        if self.blocks_first:
            return numbers.view(rows, columns, channels).permute(2, 0, 1)
        return numbers.view(channels, rows, columns)

    def run(self, *tensors: Tensor) -> Tensor:
        (tensor,) = tensors
        channels, height, width = self.shape
        rows, columns = self.block
        blocks = tensor[:, self.sources().flatten()]
        blocks = blocks.view(-1, channels, rows, columns, height // rows, width // columns)
        return blocks.permute(0, 1, 4, 2, 5, 3).reshape(-1, *self.shape)


@dataclass(kw_only=True)
class View(Operation):
    """A map with another height and width, whose pixels in raster order are the same."""

    def run(self, *tensors: Tensor) -> Tensor:
        return tensors[0].reshape(-1, *self.shape)


@dataclass(kw_only=True)
class Concat(Operation):
    """The channels of several tensors, one tensor after the other."""

    def run(self, *tensors: Tensor) -> Tensor:
        return torch.cat(tensors, 1)


@dataclass(kw_only=True)
class Flatten(Operation):
    """A map as a vector, or any tensor under another shape of the same length and order."""

    def run(self, *tensors: Tensor) -> Tensor:
        return tensors[0].reshape(-1, *self.shape)


@dataclass(kw_only=True)
class Dropout(Operation):
    """Nothing at inference; training sets the share `share` of the tensor to zero."""

    share: float

    def run(self, *tensors: Tensor) -> Tensor:
        return tensors[0]


@dataclass(kw_only=True)
class Pad(Operation):
    """Zeros around a map: `amounts` are (top, bottom, left, right, channels before, after)."""

    amounts: tuple[int, int, int, int, int, int]

    def run(self, *tensors: Tensor) -> Tensor:
        top, bottom, left, right, before, after = self.amounts
        return F.pad(tensors[0], (left, right, top, bottom, before, after))


@dataclass(kw_only=True)
class Slice(Operation):
    """Every `step`-th element from `start` up to `stop` along `axis`: 0 is channels, 1 rows."""

    axis: int
    start: int
    stop: int
    step: int = 1

    def run(self, *tensors: Tensor) -> Tensor:
        index = [slice(None)] * tensors[0].ndim
        index[self.axis + 1] = slice(self.start, self.stop, self.step)
        return tensors[0][tuple(index)]


@dataclass(kw_only=True)
class Shuffle(Operation):
    """The channels of a map in another order: of each of `groups` the first, and so on."""

    groups: int

    def order(self) -> Tensor:
        """The input's channel that each channel of the result is: (channels,)."""
        return torch.arange(self.shape[0]).view(self.groups, -1).T.flatten()

    def run(self, *tensors: Tensor) -> Tensor:
        return tensors[0][:, self.order()]


@dataclass(kw_only=True)
class ShortcutView(Operation):
    """Every `stride`-th row and column of a map, between channels of zeros.

    Its first channel is number `channel_offset` of the result (He et al., option A).
    """

    stride: int
    channel_offset: int

    def run(self, *tensors: Tensor) -> Tensor:
        picked = tensors[0][:, :, :: self.stride, :: self.stride]
        after = self.shape[0] - self.channel_offset - picked.shape[1]
        return F.pad(picked, (0, 0, 0, 0, self.channel_offset, after))


@dataclass(kw_only=True)
class OnHost(Operation):
    """An operation on the network's results that is the host's: softmax and its like.

    Parameters
    ----------
    kind : "softmax", "log_softmax", "sigmoid" or "argmax"
    axes : tuple of int
        The axes that it goes over, that of the images being 0; none for a sigmoid.
    keeps_axis : bool
        The result of an argmax has its axis still, of length 1.
    """

    kind: str
    axes: tuple[int, ...] = ()
    keeps_axis: bool = False

    def run(self, *tensors: Tensor) -> Tensor:
        (tensor,) = tensors
        if self.kind == "sigmoid":
            return tensor.sigmoid()
        if self.kind == "argmax":
            (axis,) = self.axes
            return tensor.argmax(axis, keepdim=self.keeps_axis)
        function = torch.softmax if self.kind == "softmax" else torch.log_softmax
        if len(self.axes) == 1:
            return function(tensor, self.axes[0])
        return function(tensor.flatten(self.axes[0]), self.axes[0]).reshape(tensor.shape)


@dataclass
class Output:
    """A tensor that a network returns, and what the host makes of it first.

    Parameters
    ----------
    tensor : str
    shape : tuple of int
        The tensor's shape as the host sees it, without the images.
    on_host : list of OnHost
        What the host computes from it, in order.
    """

    tensor: str
    shape: Shape
    on_host: list[OnHost] = field(default_factory=list)

    def finish(self, tensor: Tensor) -> Tensor:
        """Compute from the tensor what the network returns: (images, *any shape)."""
        tensor = tensor.reshape(-1, *self.shape)
        for operation in self.on_host:
            tensor = operation.run(tensor)
        return tensor


@dataclass
class Network:
    """A whole network: its operations in an order in which they can run.

    Parameters
    ----------
    input_shape : (channels, height, width)
    operations : list of Operation
    outputs : list of Output
        What the network returns, in order.
    """

    input_shape: tuple[int, int, int]
    operations: list[Operation] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)

    def copy(self) -> Network:
        """A network that passes may rewrite; both share their weights, which passes replace."""
        operations = [replace(o, inputs=list(o.inputs)) for o in self.operations]
        outputs = [replace(output, on_host=list(output.on_host)) for output in self.outputs]
        return Network(self.input_shape, operations, outputs)

    def returns(self, name: str) -> bool:
        """Return whether the network's caller sees tensor `name`."""
        return any(output.tensor == name for output in self.outputs)

    def append_output(self, name: str) -> None:
        """Return tensor `name` too."""
        self.outputs.append(Output(name, self.shape(name)))

    def operation(self, name: str) -> Operation:
        """The operation that writes tensor `name`."""
        return next(operation for operation in self.operations if operation.name == name)

    def maker(self, operation: Operation) -> Operation | None:
        """The operation that writes the first input of `operation`; None for the images."""
        name = operation.inputs[0]
        return None if name == INPUT else self.operation(name)

    def shape(self, name: str) -> Shape:
        """The shape of tensor `name`, without the images."""
        return self.input_shape if name == INPUT else self.operation(name).shape

    def readers(self, name: str) -> list[Operation]:
        """The operations that read tensor `name`, once for each time that they do."""
        return [o for o in self.operations for tensor in o.inputs if tensor == name]

    def read_once(self, name: str) -> bool:
        """Return whether one operation alone, and not the network's caller, sees tensor `name`."""
        return len(self.readers(name)) == 1 and not self.returns(name)

    def new_name(self, name: str) -> str:
        """`name`, numbered where a tensor has it already."""
        taken = {operation.name for operation in self.operations} | {INPUT}
        candidate, number = name, 1
        while candidate in taken:
            number += 1
            candidate = f"{name}:{number}"
        return candidate

    def replace_by(self, old: Operation, *chain: Operation) -> None:
        """Put a chain of operations where `old` is; whoever read `old` reads the last of them."""
        index = self._index(old)
        self.operations[index : index + 1] = chain
        self._rename(old.name, chain[-1].name)

    def insert_before(self, operation: Operation, new: Operation) -> None:
        """Put `new` before `operation`, which reads it in the place of the first input of `new`."""
        self.operations.insert(self._index(operation), new)
        old = new.inputs[0]
        operation.inputs = [new.name if name == old else name for name in operation.inputs]

    def replace(self, old: Operation, new: Operation) -> None:
        """Put `new` where `old` is; whoever read `old` reads `new`."""
        self.replace_by(old, new)

    def remove(self, operation: Operation) -> None:
        """Take an operation out; whoever read it reads its first input."""
        del self.operations[self._index(operation)]
        self._rename(operation.name, operation.inputs[0])

    def drop_unread(self) -> None:
        """Take out the operations whose tensors nobody reads."""
        wanted = {output.tensor for output in self.outputs}
        kept: list[Operation] = []
        for operation in reversed(self.operations):
            if operation.name in wanted:
                wanted.update(operation.inputs)
                kept.append(operation)
        self.operations = kept[::-1]

    @torch.no_grad()
    def run(self, images: Tensor) -> Iterator[tuple[Operation, Tensor]]:
        """Every operation with what it writes, for images (images, channels, height, width)."""
        tensors = {INPUT: images}
        for operation in self.operations:
            result = operation.run(*(tensors[name] for name in operation.inputs))
            tensors[operation.name] = result
            yield operation, result

    def results(self, images: Tensor) -> list[Tensor]:
        """Return what the network returns for images (images, channels, height, width)."""
        tensors = {INPUT: images} | {operation.name: value for operation, value in self.run(images)}
        return [output.finish(tensors[output.tensor]) for output in self.outputs]

    def result(self, images: Tensor) -> Tensor:
        """Return the first of `results`."""
        return self.results(images)[0]

    def _index(self, operation: Operation) -> int:
        return next(i for i, other in enumerate(self.operations) if other is operation)

    def _rename(self, old: str, new: str) -> None:
        if old == new:
            return
        for operation in self.operations:
            operation.inputs = [new if name == old else name for name in operation.inputs]
        for output in self.outputs:
            output.tensor = new if output.tensor == old else output.tensor


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """One number for both directions, or one for each, as (vertical, horizontal)."""
    if isinstance(value, int):
        return value, value
    vertical, *rest = value
    return vertical, rest[0] if rest else vertical


def per_channel(value: Any, shape: Shape) -> Tensor:
    """A number, or a tensor that is constant over each channel, as float64 (channels,).

    `value` is an operand of arithmetic with a tensor of `shape`. Raises ValueError with the reason
    where it is no constant of each channel.
    """
    channels, *rest = shape
    tensor = torch.as_tensor(value, dtype=torch.float64)
    try:
        whole = tensor.broadcast_to((1, channels, *rest)).reshape(channels, -1)
    except RuntimeError:
        raise ValueError("its constant does not fit the tensor") from None
    if not bool((whole == whole[:, :1]).all()):
        raise ValueError("its constant differs within a channel")
    return whole[:, 0].clone()
