"""The rule for which layers can have a ZAP."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from golden.manifest import ConvNode, Manifest

__all__ = ["select_zap_sites", "zap_sites"]


class Convolution(Protocol):
    """A convolution, of a bundle or of any other form of a network."""

    @property
    def fully_connected(self) -> bool: ...


ConvolutionT = TypeVar("ConvolutionT", bound=Convolution)


def select_zap_sites(
    convolutions: Iterable[ConvolutionT], has_relu: Callable[[ConvolutionT], bool]
) -> list[ConvolutionT]:
    """Select the convolutions that can have a ZAP from all of a network's, in order.

    They end in a ReLU, after a residual's addition where there is one. The first convolution is
    none of them, nor is a fully connected layer. A 1x1 convolution on a shortcut has no ReLU.
    """
    return [
        convolution
        for number, convolution in enumerate(convolutions)
        if number > 0 and has_relu(convolution) and not convolution.fully_connected
    ]


def zap_sites(manifest: Manifest) -> list[ConvNode]:
    """Select the convolutions of a bundle that can have a ZAP, whether or not they have one.

    An unsigned ofm is one after a ReLU.
    """
    convolutions = [node for node in manifest.layers if isinstance(node, ConvNode)]
    return select_zap_sites(convolutions, lambda node: not manifest.activations[node.output].signed)
