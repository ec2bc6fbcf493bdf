"""Random networks for the core.

A network is a bundle of a few layers of any shape, with ZAPs, shortcuts and poolings; the memory's
latency and stalls are random too. Such networks reach corner cases: maps of one pixel or of many
strips, strides that leave pixels over, channels that do not fill a group, shortcuts over any
distance, and poolings that cannot be fused with a convolution.
"""

from __future__ import annotations

import random
from dataclasses import replace
from math import gcd

import torch
from torch import Tensor

from compiler.build import compile_bundle
from compiler.program import DENSE
from compiler.rewriting.residual_copies import with_residual_copies
from golden import arithmetic
from golden.arithmetic import ceil_div
from golden.bundle import Bundle
from golden.errors import UserError
from golden.layers import Conv
from golden.manifest import (
    SCHEMA_VERSION,
    Activation,
    ConcatNode,
    ConvNode,
    Input,
    LayerChoice,
    Manifest,
    Node,
    OperatingPoint,
    PoolNode,
    PredictorNode,
    ShortcutNode,
)
from hw.contract.bus import PAGE_BITS
from hw.contract.config import Config
from tb.exchange.core_files import Run
from tb.random.draws import (
    CORNERS,
    Draw,
    draw_conv,
    draw_groups,
    draw_padding,
    draw_pool,
    draw_predictor,
    draw_shortcut,
)
from tb.random.zaps import POINT, zap_tensors

__all__ = ["conv_node", "conv_tensors", "random_image", "random_network", "random_runs"]


def random_network(
    config: Config, rng: random.Random, shape: tuple[int, int, int] | None = None
) -> Bundle:
    """Draw a network that fits `config`, for images of that shape or of a random one.

    The core runs its layers and no others: no residual has to be copied.
    """
    while True:
        try:
            bundle = _Network(config, rng, shape).bundle
            compile_bundle(bundle, config)
            if with_residual_copies(bundle, config) is bundle:
                return bundle
        except UserError:
            continue  # too large for the configuration, or a kernel larger than its map


def random_image(bundle: Bundle, rng: random.Random) -> Tensor:
    """Draw a quantised image for a network, int32 (channels, height, width)."""
    activation = bundle.manifest.activations[bundle.manifest.input.tensor]
    draw = Draw(torch.Generator().manual_seed(rng.getrandbits(32)))
    limits = arithmetic.activation_range(activation.signed)
    return draw(limits, *activation.shape).to(torch.int32)


def random_runs(config: Config, count: int, seed: int) -> list[tuple[Bundle, Run]]:
    """Draw networks and a run of each: one in three without ZAP, with a random memory.

    The windows lie anywhere in the lower half of what the bus can address.
    """
    rng, bases = random.Random(seed), random.Random(seed)
    pairs = []
    for _ in range(count):
        bundle = random_network(config, rng)
        run = Run(
            program=compile_bundle(bundle, config, keep=True),
            image=random_image(bundle, rng).numpy(),
            point=rng.choice([DENSE, POINT, POINT]),
            latency=rng.choice([1, 5, 40, 300]),
            stall=rng.choice([0.0, 0.2, 0.5]),
            base=bases.getrandbits(config.address_bits - 1 - PAGE_BITS) << PAGE_BITS,
        )
        pairs.append((bundle, run))
    return pairs


def conv_tensors(layer: Conv) -> dict[str, Tensor]:
    """A bundle's tensors of a convolution, by their names there."""
    fields = {name: getattr(layer, name) for name in ("weight", "bias", "multiplier", "shift")}
    if layer.shortcut is not None:
        fields["shortcut_multiplier"] = layer.shortcut.multiplier
        fields["shortcut_shift"] = layer.shortcut.shift
    return {f"layers.{layer.name}.{name}": tensor for name, tensor in fields.items()}


def conv_node(
    layer: Conv, source: str, residual: str = "", *, fully_connected: bool = False
) -> ConvNode:
    """A bundle's node of a convolution that reads `source`, and adds `residual` if it has one."""
    shortcut = layer.shortcut
    node = None
    if shortcut is not None:
        node = ShortcutNode(
            input=residual, stride=shortcut.stride, channel_offset=shortcut.channel_offset
        )
    return ConvNode(
        name=layer.name,
        input=source,
        output=layer.name,
        stride=layer.stride,
        padding=layer.padding,
        groups=layer.groups,
        shortcut=node,
        fully_connected=fully_connected,
    )


class _Network:
    """Grows a network layer by layer."""

    def __init__(
        self, config: Config, rng: random.Random, shape: tuple[int, int, int] | None
    ) -> None:
        self._config = config
        self._rng = rng
        self._draw = Draw(torch.Generator().manual_seed(rng.getrandbits(32)))
        self._tensors: dict[str, Tensor] = {}
        self._activations: dict[str, Activation] = {}
        self._layers: list[Node] = []
        self._predictors: dict[str, PredictorNode] = {}
        self._choices: dict[str, LayerChoice] = {}
        shape = shape or (rng.choice((1, 3, rng.randint(1, 20))), *self._size())
        self._add_activation("image", shape, signed=rng.random() < 0.5)
        for number in range(rng.randint(1, 4)):
            self._add_conv(f"conv{number}")
            if rng.random() < 0.3:
                self._add_pool(f"pool{number}")
            if rng.random() < 0.2:
                self._add_branches(f"cat{number}")
        self._shrink()
        self._add_output("fc")

    @property
    def bundle(self) -> Bundle:
        channels = self._activations["image"].shape[0]
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            name="random",
            input=Input(tensor="image", mean=[0.0] * channels, std=[1.0] * channels),
            output="fc",
            classes=[str(n) for n in range(self._activations["fc"].shape[0])],
            activations=self._activations,
            layers=self._layers,
            predictors=self._predictors,
            operating_points=[OperatingPoint(name=POINT, layers=self._choices)],
        )
        return Bundle(manifest, self._tensors)

    def _size(self) -> tuple[int, int]:
        """Draw height and width of the image: mostly small, sometimes more than a bank holds."""
        rng = self._rng
        width = rng.randint(1, 14)
        if rng.random() < 0.4:
            return rng.randint(1, 12), width
        width = rng.choice((1, 2, width, self._config.row_pixels))
        return rng.randint(1, 4 * self._config.ofm_words // width), width

    def _shrink(self) -> None:
        """Add convolutions with large strides until a fully connected layer fits."""
        while True:
            name = list(self._activations)[-1]
            channels, height, width = self._activations[name].shape
            if channels * height * width <= self._config.lanes * self._config.weight_words // 2:
                return
            self._add_conv(f"conv{len(self._layers)}", stride=(4, 4) if width > 1 else (4, 1))

    def _add_activation(self, name: str, shape: tuple[int, ...], *, signed: bool) -> None:
        channels, height, width = shape
        self._activations[name] = Activation(
            shape=(channels, height, width), signed=signed, scale=1
        )

    def _source(self) -> str:
        """Choose the tensor to read, mostly the newest."""
        names = list(self._activations)
        return self._rng.choice(names) if self._rng.random() < 0.2 else names[-1]

    def _add_conv(self, name: str, stride: tuple[int, int] | None = None) -> None:
        rng = self._rng
        source = self._source() if stride is None else list(self._activations)[-1]
        in_channels, height, width = self._activations[source].shape
        largest = rng.choice((3, 5, 5, 11))
        kernel = (
            rng.randint(1, min(largest, height + 1)),
            rng.randint(1, min(largest, width + 1)),
        )
        channels = rng.randint(1, 2 * self._config.group + 3)
        groups = 1
        if rng.random() < 0.3:
            # As many channels as there are may be parted into whole groups of another width.
            _, wide, kernels = draw_groups(rng, self._config.group)
            groups = in_channels // gcd(in_channels, wide)
            channels = groups * kernels
        layer = draw_conv(
            self._draw,
            rng,
            name,
            (channels, in_channels // groups, *kernel),
            corner=rng.choice(CORNERS),
            stride=stride or (rng.choice((1, 1, 1, 2, 4)), rng.choice((1, 1, 1, 2, 4))),
            padding=draw_padding(rng, kernel),
            groups=groups,
            signed_output=rng.random() < 0.2,
        )
        size = layer.output_size(height, width)
        if min(size) < 1:
            raise UserError("the kernel is larger than its map")
        residual = ""
        if rng.random() < 0.4:
            layer, residual = self._with_shortcut(layer, size)
        self._add_layer(layer, source, residual, (channels, *size))
        if not layer.signed_output and self._config.predictor and rng.random() < 0.7:
            self._add_zap(name, channels)

    def _with_shortcut(self, layer: Conv, size: tuple[int, int]) -> tuple[Conv, str]:
        """Add a shortcut from a tensor that fits; return the layer and the tensor's name or ''."""
        channels, group = layer.weight.shape[0], self._config.group
        fitting = [
            (name, stride)
            for name, activation in self._activations.items()
            for stride in (1, 2, 3)
            if tuple(ceil_div(extent, stride) for extent in activation.shape[1:]) == size
            and activation.shape[0] <= channels
        ]
        if not fitting:
            return layer, ""
        name, stride = self._rng.choice(fitting)
        offset = self._rng.randint(0, (channels - self._activations[name].shape[0]) // group)
        shortcut = draw_shortcut(self._draw, self._rng, layer, stride, offset * group)
        return replace(layer, shortcut=shortcut), name

    def _add_layer(
        self,
        layer: Conv,
        source: str,
        residual: str,
        shape: tuple[int, int, int],
        *,
        fully_connected: bool = False,
    ) -> None:
        self._tensors |= conv_tensors(layer)
        self._layers.append(conv_node(layer, source, residual, fully_connected=fully_connected))
        self._add_activation(layer.name, shape, signed=layer.signed_output)

    def _add_zap(self, layer: str, channels: int) -> None:
        zap = draw_predictor(self._draw, self._rng, self._rng.choice(CORNERS), channels)
        name = f"{layer}-zap"
        self._tensors |= zap_tensors(layer, name, zap)
        self._predictors[name] = PredictorNode(layer=layer, pattern=str(zap.pattern))
        self._choices[layer] = LayerChoice(predictor=name, sigma=0.0)

    def _add_pool(self, name: str) -> None:
        source = self._source()
        activation = self._activations[source]
        channels, height, width = activation.shape
        pool = draw_pool(self._rng, (height, width), activation.signed)
        multiplier, shift = pool.average or (None, None)
        self._layers.append(
            PoolNode(
                op="max_pool" if pool.average is None else "average_pool",
                name=name,
                input=source,
                output=name,
                kernel=pool.kernel,
                stride=pool.stride,
                padding=pool.padding,
                multiplier=multiplier,
                shift=shift,
            )
        )
        size = pool.output_size(height, width)
        self._add_activation(name, (channels, *size), signed=activation.signed)

    def _add_branches(self, name: str) -> None:
        """Add convolutions of one tensor and their concat, now and then another concat of it."""
        rng, group = self._rng, self._config.group
        source = self._source()
        in_channels, height, width = self._activations[source].shape

        def branch(name: str) -> str:
            channels = rng.choice((group, rng.randint(1, group + 3)))
            kernel = rng.choice((1, 3))
            layer = draw_conv(
                self._draw,
                rng,
                name,
                (channels, in_channels, kernel, kernel),
                padding=(kernel // 2,) * 4,
            )
            self._add_layer(layer, source, "", (channels, height, width))
            return name

        def concat(name: str, inputs: list[str]) -> None:
            self._layers.append(ConcatNode(name=name, inputs=inputs, output=name))
            channels = sum(self._activations[part].shape[0] for part in inputs)
            self._add_activation(name, (channels, height, width), signed=False)

        concat(name, [branch(f"{name}_{side}") for side in range(rng.randint(2, 3))])
        if rng.random() < 0.3:
            parts = [name, branch(f"{name}_beside")]
            concat(f"{name}_wide", rng.sample(parts, 2))

    def _add_output(self, name: str) -> None:
        source = list(self._activations)[-1]
        shape = self._activations[source].shape
        classes = self._rng.randint(1, 2 * self._config.group)
        layer = draw_conv(
            self._draw, self._rng, name, (classes, *shape), signed_output=self._rng.random() < 0.8
        )
        self._add_layer(layer, source, "", (classes, 1, 1), fully_connected=True)
