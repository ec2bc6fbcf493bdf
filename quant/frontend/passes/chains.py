"""Chains of operations that take the place of one, for the passes that write it in others."""

from __future__ import annotations

from typing import Any

import torch

from quant.frontend.operations import Convolution, Network, Operation, View

__all__ = ["Chain"]


class Chain:
    """Operations that follow each other; the first reads what `operation` reads.

    `tensor` is the one that the last of them writes, and `shape` its shape.
    """

    def __init__(self, network: Network, operation: Operation) -> None:
        self.network = network
        self.operation = operation
        (self.tensor,) = operation.inputs
        self.shape = network.shape(self.tensor)
        self._links: list[Operation] = []

    def add(
        self,
        kind: type[Operation],
        suffix: str,
        shape: tuple[int, ...],
        /,
        *others: str,
        **fields: Any,
    ) -> None:
        """Append an operation with a result of `shape`, which reads the tensors `others` too."""
        taken = {link.name for link in self._links}
        first = name = self.network.new_name(f"{self.operation.name}:{suffix}")
        while name in taken:
            name = f"{first}:{len(self._links) + 1}"
        link = kind(
            name=name,
            inputs=[self.tensor, *others],
            shape=shape,
            where=self.operation.where,
            **fields,
        )
        link.stands_for = None
        self._links.append(link)
        self.tensor, self.shape = name, shape

    def go_back(self, tensor: str, shape: tuple[int, ...]) -> None:
        """Let the next operation read a tensor that was written before."""
        self.tensor, self.shape = tensor, shape

    def view(self, height: int, width: int) -> None:
        """Give the map another height and width."""
        self.add(View, "view", (self.shape[0], height, width))

    def copy(self, suffix: str, shape: tuple[int, ...], **fields: Any) -> None:
        """Append a 1x1 convolution that copies each channel."""
        channels = self.shape[0]
        weight, bias = torch.ones(channels, 1, 1, 1), torch.zeros(channels)
        self.add(
            Convolution,
            suffix,
            shape,
            weight=weight,
            bias=bias,
            groups=channels,
            copies=True,
            **fields,
        )

    def finish(self) -> None:
        """Put the chain where the operation was; without a link, the operation does nothing.

        What is copied within it keeps its scale; the chain's result has one of its own.
        """
        if not self._links:
            self.network.remove(self.operation)
            return
        convolutions = [link for link in self._links if isinstance(link, Convolution)]
        for link in convolutions[:-1]:
            link.keeps_scale = link.copies
        last = self._links[-1]
        last.name = self.operation.name
        last.stands_for = self.operation.stands_for
        self.network.replace_by(self.operation, *self._links)
