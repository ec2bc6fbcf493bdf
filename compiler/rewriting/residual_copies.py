"""Copies residuals that the core could not add from where they lie in memory.

The core reads a residual plane by plane, and each plane's G channels belong to one group of the
ofm. That fails where a shortcut's channel offset is no multiple of G, and where the residual was
concatenated of parts that are no multiple of G. A 1x1 convolution then writes the residual's
channels where the addition needs them. It changes no number.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from compiler.rewriting.names import new_name
from compiler.tensor_placement import tensor_layouts
from golden.bundle import Bundle
from golden.manifest import ConvNode, Node, ShortcutNode
from hw.contract.config import Config

__all__ = ["with_residual_copies"]

_ONE = 1 << 15, 15
"""Multiplier and shift of a requantisation by one."""


def with_residual_copies(bundle: Bundle, config: Config) -> Bundle:
    """Return the network as a configuration's core runs it: with a copy of such residuals.

    Every tensor of the bundle has the same numbers in the result. Where no residual has to be
    copied, the result is the bundle itself.
    """
    manifest = bundle.manifest
    layouts = tensor_layouts(manifest, config)
    activations = dict(manifest.activations)
    layers: list[Node] = []
    tensors: dict[str, Tensor] = {}
    for node in manifest.layers:
        if isinstance(node, ConvNode) and node.shortcut is not None:
            shortcut = node.shortcut
            place = layouts[shortcut.input]
            if shortcut.channel_offset % config.group or place.slot_count > place.shape[0]:
                name = new_name(f"{node.name[:180]}:residual", activations)
                _, *size = activations[node.output].shape
                copied = shortcut.channel_offset + place.shape[0], *size
                activations[name] = activations[shortcut.input].model_copy(update={"shape": copied})
                step = shortcut.stride, shortcut.stride
                layers.append(ConvNode(name=name, input=shortcut.input, output=name, stride=step))
                tensors |= _copying(name, shortcut.channel_offset, place.shape[0])
                node = node.model_copy(update={"shortcut": ShortcutNode(input=name)})
        layers.append(node)
    if not tensors:
        return bundle
    changed = manifest.model_copy(update={"activations": activations, "layers": layers})
    return Bundle(changed, bundle.tensors | tensors)


def _copying(name: str, channel_offset: int, channels: int) -> dict[str, Tensor]:
    """Return the tensors of a convolution that copies channels, and puts zeros before them."""
    count = channel_offset + channels
    multiplier, shift = _ONE
    one_hot = F.pad(torch.eye(channels, dtype=torch.int8), (0, 0, channel_offset, 0))
    fields = {
        "weight": one_hot[:, :, None, None],
        "bias": torch.zeros(count, dtype=torch.int32),
        "multiplier": torch.full((count,), multiplier, dtype=torch.int32),
        "shift": torch.full((count,), shift, dtype=torch.int32),
    }
    return {f"layers.{name}.{field}": tensor for field, tensor in fields.items()}
