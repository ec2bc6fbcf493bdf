"""Fine-tuning with the ZAPs active: the weights make up for what is skipped (paper, section 4).

The integer network itself is trained. A forward pass computes in floats what the hardware does:
weights and activations are rounded, and activations that the predictors skip are zero. Gradients
pass through rounding unchanged, and not through skipped activations. Scales, requantisation and
predictors stay as they are; only weights and biases change. Augmentation, optimiser and dropout are
those of the network's own training.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golden import arithmetic
from golden.bundle import Bundle
from golden.layers import Conv, Predictor, mask, scores
from golden.manifest import ConcatNode, ConvNode, PoolNode, ReshapeNode
from golden.network import quantise_images
from golden.node_walk import NodeWalk
from golden.padding import average_pool2d, conv2d, max_pool2d
from quant.data.images import ImageSet
from quant.networks.model import Recipe
from quant.quantise.integer_network import WEIGHT_MAX
from quant.runtime.progress import progress
from quant.training.augmentation import augment
from quant.training.trainer import make_optimiser

__all__ = ["fine_tune"]


def fine_tune(
    bundle: Bundle,
    predictors: Mapping[str, Predictor],
    image_set: ImageSet,
    recipe: Recipe,
    *,
    dropout: Mapping[str, float] | None = None,
    epochs: int,
    seed: int,
    device: str = "cpu",
) -> Bundle:
    """Return the bundle with weights and biases trained to run with these predictors.

    Parameters
    ----------
    predictors : {layer name: Predictor}
    image_set : ImageSet
        Training images and their labels.
    recipe : Recipe
        How the network was trained; the learning rate falls linearly to zero from its
        `fine_tuning_rate`.
    dropout : {layer name: share of its input that is set to zero}
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # for dropout
    network = _Network(bundle, predictors, dropout or {}).to(device)
    optimiser = make_optimiser(network, recipe, recipe.fine_tuning_rate)
    steps = [
        index
        for _ in range(epochs)
        for index in torch.randperm(len(image_set), generator=generator).split(recipe.batch)
    ]
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 0, total_iters=len(steps))
    for index in progress(steps, len(steps), "fine-tuning"):
        pixels = augment(image_set.pixels(index), recipe, generator)
        images = quantise_images(bundle, pixels).to(device, torch.float32)
        logits = network(images.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits, image_set.labels[index].to(device))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        decay.step()
    return Bundle(bundle.manifest, bundle.tensors | network.cpu().tensors())


class _Network(nn.Module):
    """A bundle's network on float tensors that hold integers, with real-valued parameters."""

    def __init__(
        self, bundle: Bundle, predictors: Mapping[str, Predictor], dropout: Mapping[str, float]
    ) -> None:
        super().__init__()
        self.bundle = bundle
        self.convs = {
            node.name: _Conv(bundle, node, predictors.get(node.name), dropout.get(node.name, 0))
            for node in bundle.manifest.layers
            if isinstance(node, ConvNode)
        }
        self.registered = nn.ModuleList(self.convs.values())

    def forward(self, images: Tensor) -> Tensor:
        """Compute real logits (images, classes), not rounded, from quantised images."""
        manifest = self.bundle.manifest
        walk = NodeWalk(manifest.layers, {manifest.input.tensor: images}, manifest.output)
        for node, operands in walk:
            if isinstance(node, ConcatNode):
                walk.store(torch.cat(operands, 1))
            elif isinstance(node, PoolNode):
                walk.store(_pool(self.bundle, node, *operands))
            elif isinstance(node, ReshapeNode):
                size = manifest.activations[node.output].shape[1:]
                walk.store(operands[0].reshape(*operands[0].shape[:2], *size))
            else:
                conv = self.convs[node.name]
                sums = conv(*operands)
                walk.store(sums if node.output == manifest.output else conv.activate(sums))
        return walk.result.flatten(1) * manifest.activations[manifest.output].scale

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights and biases as tensors of a bundle."""
        changed = {}
        for conv in self.convs.values():
            changed[f"layers.{conv.layer.name}.weight"] = conv.weight_levels().to(torch.int8)
            changed[f"layers.{conv.layer.name}.bias"] = conv.bias_levels().to(torch.int32)
        return {name: tensor.detach().contiguous() for name, tensor in changed.items()}


class _Conv(nn.Module):
    """A convolution whose parameters are in real units, so that one learning rate fits all."""

    requantisation: Tensor
    sum_scale: Tensor
    weight_scale: Tensor

    def __init__(
        self, bundle: Bundle, node: ConvNode, predictor: Predictor | None, dropout: float
    ) -> None:
        super().__init__()
        scales = {name: tensor.scale for name, tensor in bundle.manifest.activations.items()}
        self.layer: Conv = bundle.conv(node)
        self.predictor = predictor
        self.dropout = dropout
        self.register_buffer("requantisation", _scale(self.layer.multiplier, self.layer.shift))
        sum_scale = self.requantisation * scales[node.output]
        self.register_buffer("sum_scale", sum_scale)
        self.register_buffer("weight_scale", (sum_scale / scales[node.input]).unsqueeze(1))
        self.weight = nn.Parameter(self.layer.weight * self.weight_scale)
        self.bias = nn.Parameter(self.layer.bias * sum_scale.flatten())

    def weight_levels(self) -> Tensor:
        """Return the int8 weights in use, as floats."""
        return _rounded(self.weight / self.weight_scale, (-WEIGHT_MAX, WEIGHT_MAX))

    def bias_levels(self) -> Tensor:
        """Return the biases in use, as floats."""
        limits = arithmetic.signed_range(arithmetic.ACC_BITS - 1)
        return _rounded(self.bias / self.sum_scale.flatten(), limits)

    def forward(self, ifm: Tensor, residual: Tensor | None = None) -> Tensor:
        """Compute the requantised sums in levels of the ofm, neither rounded nor clamped."""
        layer = self.layer
        ifm = F.dropout(ifm, self.dropout, self.training)
        sums = conv2d(
            ifm,
            self.weight_levels(),
            self.bias_levels(),
            layer.stride,
            layer.padding,
            layer.groups,
            layer.dilation,
        )
        if layer.shortcut is not None:
            assert residual is not None
            shortcut = layer.shortcut
            scale = _scale(shortcut.multiplier, shortcut.shift).to(residual.device)
            sums = sums + shortcut.place(residual) * scale
        return sums * self.requantisation

    def activate(self, sums: Tensor) -> Tensor:
        """Return the ofm, with zeros where the predictor skips."""
        ofm = _rounded(sums, arithmetic.activation_range(self.layer.signed_output))
        predictor = self.predictor
        if predictor is None:
            return ofm
        computed = mask(predictor.pattern, ofm)
        levels = ofm.detach().cpu()
        score = scores(predictor, levels.masked_fill(~computed, 0))
        keep = computed | (score > predictor.threshold.view(-1, 1, 1))
        return ofm * keep.to(ofm.device)


def _pool(bundle: Bundle, node: PoolNode, ifm: Tensor) -> Tensor:
    layer = bundle.pool(node)
    if layer.average is None:
        return max_pool2d(ifm, layer.kernel, layer.stride, layer.padding)
    total = average_pool2d(ifm, layer.kernel, layer.stride, layer.padding, divisor=1)
    multiplier, shift = layer.average
    return _rounded(total * (multiplier / 2**shift), arithmetic.activation_range(layer.signed))


def _rounded(values: Tensor, limits: tuple[int, int]) -> Tensor:
    """Round, with halves upwards, and clamp; gradients see only the clamping."""
    clamped = values.clamp(*limits)
    return clamped + ((clamped.detach() + 0.5).floor() - clamped.detach())


def _scale(multiplier: Tensor, shift: Tensor) -> Tensor:
    """Return multiplier / 2**shift of each channel, (channels, 1, 1)."""
    return torch.ldexp(multiplier.to(torch.float32), -shift).view(-1, 1, 1)
