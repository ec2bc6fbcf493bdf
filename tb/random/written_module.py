"""A PyTorch network that is written line by line, and runs while it is written.

Every line is executed at once on a few images. So whoever writes a network sees the shape of each
tensor, and a line that PyTorch does not accept is dropped again. The text is a Python file as a
user would write it.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Value", "WrittenModule", "load_module"]

_IMAGES = 2
_HEAD = """\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
"""
_TAIL = """\


def net():
    torch.manual_seed({seed})
    network = Net()
    for part in network.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(part.running_mean, std=0.3)
            nn.init.uniform_(part.running_var, 0.5, 2)
            if part.affine:
                nn.init.uniform_(part.weight, -1, 2)
                nn.init.normal_(part.bias, std=0.3)
    return network.eval()
"""
"""BatchNorms get statistics and gains as after training; some gains are negative."""


@dataclass(frozen=True)
class Value:
    """A tensor of the network: the variable that holds it, and its shape without the images.

    `is_input` is set for the images themselves.
    """

    name: str
    shape: tuple[int, ...]
    is_input: bool = False


class WrittenModule:
    """The text of a network so far, and the tensors that it has computed.

    Parameters
    ----------
    shape : (channels, height, width)
        That of its images.
    seed : int
        Of its weights.
    """

    def __init__(self, shape: tuple[int, int, int], seed: int) -> None:
        self.shape = shape
        self.seed = seed
        self.rng = random.Random(seed)
        self.values = [Value("x", shape, is_input=True)]
        self.unread: set[str] = {"x"}
        """Variables that no line has read yet."""
        self.reusable: list[str] = []
        """Modules that may be called again."""
        self.returned = "x"
        self._parts: set[str] = set()
        """Tensors that lines have cut out of others, even where they are all of these."""
        self._made: list[str] = []
        self._forward: list[str] = []
        self._module = nn.Module()
        self._images = torch.randn(_IMAGES, *shape, generator=torch.Generator().manual_seed(seed))
        self._names: dict[str, Any] = {
            "torch": torch, "nn": nn, "F": F, "self": self._module, "x": self._images.clone(),
        }  # fmt: skip
        self._module.eval()

    @property
    def current(self) -> Value:
        """The last tensor."""
        return self.values[-1]

    @property
    def text(self) -> str:
        """The Python file; `net()` in it makes the network."""
        lines = [*self._made, "", "    def forward(self, x):", *self._forward]
        body = [f"        {line}" if line and not line.startswith(" ") else line for line in lines]
        end = f"        return {self.returned}\n"
        return _HEAD + "\n".join(body) + "\n" + end + _TAIL.format(seed=self.seed)

    def make(self, kind: str, text: str) -> str:
        """Write `self.NAME = TEXT` into the constructor; returns `self.NAME`."""
        name = f"self.{kind}{len(self._made)}"
        with torch.random.fork_rng():
            torch.manual_seed(self.seed + len(self._made))
            self._execute(f"{name} = {text}")
        self._made.append(f"{name} = {text}")
        self._module.eval()
        return name

    def parameter(self, kind: str, *sizes: int, gain: float = 1.0) -> str:
        """Write a parameter of that shape with normal values."""
        return self.make(
            kind, f"nn.Parameter({gain:.3g} * torch.randn({', '.join(map(str, sizes))}))"
        )

    def step(self, text: str, *read: Value, name: str = "") -> Value:
        """Write `NAME = TEXT`, by default with a new name; returns the tensor."""
        name = name or f"y{len(self._forward)}"
        return self.statement(f"{name} = {text}", name, *read)

    def statement(self, line: str, name: str, *read: Value) -> Value:
        """Write a line, which assigns the tensor `name` or changes it in place."""
        self._execute(line)
        tensor = self._names[name]
        if not isinstance(tensor, Tensor) or min(tensor.shape, default=0) < 1:
            raise ValueError(f"{line}: gives no tensor")
        self._forward.append(line)
        if "[:" in line or "parts[" in line or "narrow(" in line:
            self._parts.add(name)
        self.unread -= {value.name for value in read}
        value = Value(name, tuple(tensor.shape[1:]))
        self.values = [other for other in self.values if other.name != name] + [value]
        self.unread.add(name)
        return value

    def hidden(self, line: str) -> None:
        """Write a line that assigns what later lines use, but no tensor of the network."""
        self._execute(line)
        self._forward.append(line)

    def mark(self) -> tuple[Any, ...]:
        """Return the state of the text, for `undo`."""
        lists = self.values, self.reusable, self._made, self._forward
        return (*(list(values) for values in lists), set(self.unread), self.returned)

    def undo(self, mark: tuple[Any, ...]) -> None:
        """Go back to a state of the text; the lines run again, as some change tensors in place."""
        values, reusable, made, forward, unread, self.returned = mark
        self.values, self.reusable = list(values), list(reusable)
        self._made, self._forward, self.unread = list(made), list(forward), set(unread)
        self._run()

    def _run(self) -> None:
        self._names["x"] = self._images.clone()
        for line in self._forward:
            self._execute(line)

    @torch.no_grad()
    def _execute(self, line: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about paddings that PyTorch copies for
            exec(line, self._names)

    def can_change(self, value: Value) -> bool:
        """Return whether a tensor can be changed in place: not the images, nor a part of a tensor.

        PyTorch writes the change of a part back by a function that nothing lowers.
        """
        if value.name in self._parts:
            return False
        tensor, images = self._names[value.name], self._names["x"]
        storage = tensor.untyped_storage()
        whole = storage.nbytes() == tensor.numel() * tensor.element_size()
        return whole and storage.data_ptr() != images.untyped_storage().data_ptr()

    def is_images(self, value: Value) -> bool:
        """Return whether a tensor is the images, under whatever name."""
        tensor = self._names[value.name]
        return tensor.shape == self._images.shape and bool((tensor == self._images).all())

    def spread(self, value: Value) -> float:
        """The standard deviation of a tensor."""
        return float(self._names[value.name].std())

    def maps(self, *, images: bool = True) -> list[Value]:
        """The tensors that have height and width, without the images themselves if so wanted."""
        return [v for v in self.values if len(v.shape) == 3 and (images or not v.is_input)]


def load_module(text: str) -> nn.Module:
    """Run the text of a network and return it, in eval mode."""
    names: dict[str, Any] = {"__name__": "written"}
    exec(compile(text, "<network>", "exec"), names)
    module = names["net"]()
    assert isinstance(module, nn.Module)
    return module


def joined(parts: Sequence[object]) -> str:
    """Numbers as they stand in a call."""
    return ", ".join(map(str, parts))
