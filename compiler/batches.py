"""Lowers steps for several images: which layers read each weight once for all of them.

A program for several images runs layer after layer, and each layer for all images. It does so in
one of two ways.

* *Image by image*: the tiles of one image after those of another. The weights are read for each.
  The ifm of an image may be loaded while the image before is computed.
* *Row by row*: each row of the ofm for all images at a time. Every image has one such row, so
  together they are a convolution that steps from image to image, and its kernels are read once for
  all images. Kernel rows that would lie in the padding are left out, with their weights and MACs.
  A fully connected layer has one row, and so it reads its weights once.

The second pays where maps are low and weights bound the layer; the cycle model decides. A layer
with ZAP runs image by image, because the predictor sees one map at a time.

Rows of all images leave the core beside each other (`compiler.memory_layout`). What follows reads
them there, whichever way it runs. A pooling behind such a layer runs by itself; where no window
reaches from an image into the next, it runs on all images at a time, as one wide map.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from compiler.cycles import tile_cycles
from compiler.lowering.cut_search import KEPT, estimated_cycles, lower_fastest
from compiler.lowering.layer_lowering import LoweredLayer, Tile
from compiler.lowering.misfit import Misfit
from compiler.lowering.slices import cut_slices
from compiler.lowering.step_lowering import StepShape, lower_step, step_shape
from compiler.lowering.steps import Step, network_steps
from compiler.lowering.tile_words import engine_words, ifm_words, ofm_words, residual_words
from compiler.memory_layout import Place
from compiler.tensor_placement import tensor_layouts
from golden.bundle import Bundle
from golden.layers import Conv, Predictor
from golden.manifest import ConcatNode, ReshapeNode
from golden.padding import Padding
from hw.contract.config import Config
from hw.contract.program import MOST_SIZE

__all__ = [
    "LoweredStep",
    "Part",
    "Plan",
    "lower_for_images",
    "lower_step_for_images",
    "plan_images",
]


@dataclass(frozen=True, kw_only=True)
class Part:
    """The tiles of one image, or of one row of all images.

    Parameters
    ----------
    layer : LoweredLayer
    ifm, ofm : Place
    residual : Place or None
    residual_row : int or None
        As `compiler.lowering.tile_words.residual_words` takes it.
    shift : int
        Words by which its ifm lies further in the buffer than the layer has it.
    early : bool
        The ifm of its first tile may be loaded while the part before is in work.
    """

    layer: LoweredLayer
    ifm: Place
    ofm: Place
    residual: Place | None
    residual_row: int | None
    shift: int
    early: bool

    def words(self) -> list[dict[str, int]]:
        """For each tile, the words of its descriptor that shapes and places decide.

        They are all that the cycle model reads.
        """
        return [self._words(number, tile) for number, tile in enumerate(self.layer.tiles)]

    def _words(self, number: int, tile: Tile) -> dict[str, int]:
        layer, size = self.layer, self.layer.config.ifm_words
        words = {
            "early": int(tile.early or (number == 0 and self.early)),
            **engine_words(tile),
            **ifm_words(layer, tile, self.ifm),
            **residual_words(layer.conv, tile.strip, self.residual, self.residual_row),
            **ofm_words(layer, tile.strip, self.ofm),
        }
        shifted = ("base", "first_base", "ifm_first_word")
        return words | {name: (words[name] + self.shift) % size for name in shifted}


@dataclass(frozen=True, kw_only=True)
class LoweredStep:
    """A step, lowered for all images.

    Parameters
    ----------
    step : Step
    images : int
    layers : list of LoweredLayer
        One that serves each image, or all of them as one wide map, or one for each row of the ofm.
    together : bool
        It runs row by row, or on all images as one map.
    """

    step: Step
    images: int
    layers: list[LoweredLayer]
    together: bool

    @property
    def tiles(self) -> int:
        """Number of its tiles."""
        each = 1 if self.together else self.images
        return each * sum(len(layer.tiles) for layer in self.layers)

    @property
    def tables(self) -> list[int]:
        """For each part, the number of its layer in `layers`."""
        return list(range(len(self.layers))) if self.together else [0] * self.images

    def parts(self, tensors: Mapping[str, Place]) -> list[Part]:
        """The parts in the order in which they run, with the tensors at these places."""
        ifm, ofm = tensors[self.step.input], tensors[self.step.output]
        residual = tensors.get(self.step.residual)
        layers = [self.layers[number] for number in self.tables]
        shifts = [0, *accumulate(_advance(layer) for layer in layers)]
        ends: list[tuple[Place, Place, Place | None, int | None]]
        if not self.together:
            ends = [
                (ifm.of_image(n), ofm.of_image(n), residual and residual.of_image(n), None)
                for n in range(self.images)
            ]
        elif self.step.macs == 0:
            ends = [(_as_one_map(ifm), _as_one_map(ofm), None, None)]
        else:
            stacked, leaves = _as_rows(ifm), _as_rows(replace(ofm, beside=True))
            ends = [
                (stacked, _below(leaves, row * self.images), *self._residual_of(row, residual))
                for row in range(len(layers))
            ]
        parts: list[Part] = []
        pays: dict[tuple[int, int], bool] = {}
        for layer, shift, (reads, writes, adds, row_bytes) in zip(
            layers, shifts, ends, strict=False
        ):
            part = Part(
                layer=layer,
                ifm=reads,
                ofm=writes,
                residual=adds,
                residual_row=row_bytes,
                shift=shift,
                early=False,
            )
            if parts:
                before = parts[-1]
                pair = id(before.layer), id(layer)
                if pair not in pays:
                    pays[pair] = _fits_behind(before.layer, layer) and _pays_early(before, part)
                part = replace(part, early=pays[pair])
            parts.append(part)
        return parts

    def _residual_of(self, row: int, residual: Place | None) -> tuple[Place | None, int | None]:
        """The residual of a row of all images, and bytes from an image's to the next."""
        shortcut = self.step.conv.shortcut
        if residual is None or shortcut is None:
            return None, None
        first = replace(
            residual, address=residual.address + row * shortcut.stride * residual.row_bytes
        )
        return first, residual.image_bytes


@dataclass(frozen=True)
class Plan:
    """A network's way to run several images.

    Parameters
    ----------
    images : int
    together : frozenset of str
        Steps that run for all images at a time.
    apart : frozenset of str
        Convolutions whose pooling is a step by itself.
    layouts : {tensor: Place}
        As `compiler.tensor_placement.tensor_layouts` gives them, with the images as they lie.
    """

    images: int
    together: frozenset[str]
    apart: frozenset[str]
    layouts: Mapping[str, Place]

    def steps(self, bundle: Bundle) -> list[Step]:
        """The steps of a bundle of this network, in order."""
        return network_steps(bundle, self.apart)


def plan_images(bundle: Bundle, config: Config, images: int, with_zap: Iterable[str] = ()) -> Plan:
    """Decide by the cycle model which steps run for all images at a time.

    `with_zap` are layers that have a ZAP at some operating point. Raises UserError where the
    configuration cannot hold a layer.
    """
    layouts = tensor_layouts(bundle.manifest, config, images)
    if images == 1:
        return Plan(1, frozenset(), frozenset(), layouts)
    together, apart = set(), set()
    fixed = {
        name
        for node in bundle.manifest.layers
        if isinstance(node, ConcatNode | ReshapeNode)
        for name in (*node.reads, node.output)
    }
    excluded = set(with_zap)

    def lie_beside(name: str) -> None:
        """Note that a tensor's images lie beside each other; of one row it makes no difference."""
        layouts[name] = replace(layouts[name], beside=layouts[name].shape[1] > 1)

    for step in network_steps(bundle):
        if step.name in excluded:
            continue
        if step.macs == 0:
            if step.output not in fixed and _pools_as_one_map(step, layouts[step.input]):
                together.add(step.name)
                lie_beside(step.output)
            continue
        conv, *pooling = _steps_apart(bundle, step)
        rows = layouts[conv.output].shape[1]
        if rows > _most_rows(images) or (rows > 1 and conv.output in fixed):
            continue  # what is concatenated or reshaped lies below each other
        if not _row_convs(step_shape(config, conv, layouts), layouts[conv.input], config.group):
            continue
        alone = _cycles([lower_step(config, step, layouts, {})], step, layouts) * images
        beside = replace(layouts[conv.output], beside=rows > 1)
        places = {**layouts, conv.output: beside}
        wide = [p for p in pooling if p.output not in fixed and _pools_as_one_map(p, beside)]
        try:
            cycles = _cycles(_lower_rows(config, conv, layouts), conv, layouts)
            for pool in pooling:
                if pool in wide:
                    cycles += _cycles([_lower_wide(config, pool, places)], pool, places)
                else:
                    each = _cycles([lower_step(config, pool, places, {})], pool, places)
                    cycles += images * each
        except Misfit:
            continue
        if cycles < alone:
            together |= {conv.name, *(pool.name for pool in wide)}
            for one in (conv, *wide):
                lie_beside(one.output)
            if pooling:
                apart.add(conv.name)
    return Plan(images, frozenset(together), frozenset(apart), layouts)


def lower_for_images(
    config: Config, plan: Plan, bundle: Bundle, predictors: Mapping[str, Predictor]
) -> list[LoweredStep]:
    """Lower the steps of a bundle as planned. Raises UserError as `lower_step` does."""
    return [
        lower_step_for_images(config, plan, step, predictors.get(step.name))
        for step in plan.steps(bundle)
    ]


def lower_step_for_images(
    config: Config, plan: Plan, step: Step, predictor: Predictor | None
) -> LoweredStep:
    """Lower one step as planned, or image by image where it has a ZAP."""
    together = step.name in plan.together and predictor is None
    if not together:
        predictors = {} if predictor is None else {step.name: predictor}
        layers = [lower_step(config, step, plan.layouts, predictors)]
    elif step.macs == 0:
        layers = [_lower_wide(config, step, plan.layouts)]
    else:
        layers = _lower_rows(config, step, plan.layouts)
    return LoweredStep(step=step, images=plan.images, layers=layers, together=together)


def _most_rows(images: int) -> int:
    """Rows of an ofm up to which it is tried: with more, weights would be read more often."""
    return images


def _steps_apart(bundle: Bundle, step: Step) -> Sequence[Step]:
    """A convolution's step, and the one of the pooling behind it if it has one."""
    if step.pool is None:
        return [step]
    names = step.name, step.pool.name
    return [s for s in network_steps(bundle, {step.name}) if s.name in names]


def _cycles(layers: Sequence[LoweredLayer], step: Step, layouts: Mapping[str, Place]) -> float:
    shape = layouts[step.input].shape
    return sum(estimated_cycles(layer, shape) for layer in layers)


def _row_convs(shape: StepShape, ifm: Place, group: int) -> list[Conv]:
    """For each row of the ofm, the convolution that computes it for all images.

    None at all where the layer has slices, or a row that no kernel row reads anything for.
    """
    if cut_slices(shape.conv, shape.size[0], group).count > 1:
        return []
    rows, _ = shape.conv.output_size(*ifm.shape[1:])
    convs = [_row_of_images(shape.conv, row, ifm) for row in range(rows)]
    found = [conv for conv in convs if conv is not None]
    return found if len(found) == rows else []


def _lower_rows(config: Config, step: Step, layouts: Mapping[str, Place]) -> list[LoweredLayer]:
    """Each row of the ofm for all images as a convolution. Raises Misfit where one does not fit."""
    shape = step_shape(config, step, layouts)
    ifm = layouts[step.input]
    stacked = (shape.size[0], *_as_rows(ifm).shape[1:])
    return [
        _lower_shape(config, replace(shape, conv=conv, size=stacked))
        for conv in _row_convs(shape, ifm, config.group)
    ]


def _lower_shape(config: Config, shape: StepShape) -> LoweredLayer:
    return lower_fastest(
        config,
        shape.conv,
        shape.size,
        ifm_signed=shape.ifm_signed,
        residual_signed=shape.residual_signed,
        pool=shape.pool,
    )


def _lower_wide(config: Config, step: Step, layouts: Mapping[str, Place]) -> LoweredLayer:
    """A pooling of all images as one wide map."""
    shape = step_shape(config, step, layouts)
    return _lower_shape(
        config, replace(shape, size=(shape.size[0], *_as_one_map(layouts[step.input]).shape[1:]))
    )


def _row_of_images(conv: Conv, row: int, ifm: Place) -> Conv | None:
    """The convolution that computes one row of the ofm of every image, from the rows of all.

    Kernel rows outside the map are left out. None where no kernel row is inside.
    """
    height = ifm.shape[1]
    top, _, left, right = conv.padding
    above = row * conv.stride[0] - top
    step = conv.dilation[0]
    inside = [k for k in range(conv.kernel[0]) if 0 <= above + k * step < height]
    if not inside:
        return None
    first = above + inside[0] * step
    spans = (len(inside) - 1) * step
    padding: Padding
    if ifm.beside:
        images = ifm.images
        last = (first + spans + 1) * images
        stride, dilation = 1, step * images
        padding = (-first * images, last - height * images, left, right)
    else:
        stride, dilation = height, step
        padding = (-first, first + spans + 1 - height, left, right)
    return replace(
        conv,
        weight=conv.weight[:, :, inside[0] : inside[-1] + 1].contiguous(),
        stride=(stride, conv.stride[1]),
        dilation=(dilation if len(inside) > 1 else 1, conv.dilation[1]),
        padding=padding,
    )


def _pools_as_one_map(step: Step, ifm: Place) -> bool:
    """Say whether a pooling may run on images beside each other as if they were one map."""
    pool = step.pool
    assert pool is not None
    _, height, width = ifm.shape
    _, columns = pool.output_size(height, width)
    apart = pool.kernel[1] <= pool.stride[1] and columns * pool.stride[1] == width
    lies_so = ifm.beside and width * ifm.images <= MOST_SIZE
    return lies_so and apart and pool.padding[2:] == (0, 0)


def _as_rows(place: Place) -> Place:
    """The same memory as one map, of which every row is a row of an image."""
    channels, height, width = place.shape
    shape = channels, height * place.images, width
    return replace(place, shape=shape, images=1, beside=False)


def _as_one_map(place: Place) -> Place:
    """The same memory as one map as high as an image and as wide as all of them."""
    channels, height, width = place.shape
    shape = channels, height, width * place.images
    return replace(place, shape=shape, images=1, beside=False)


def _below(place: Place, rows: int) -> Place:
    """The place from a row on; distances stay."""
    return replace(place, address=place.address + rows * place.row_bytes)


def _advance(layer: LoweredLayer) -> int:
    """Words of an endless ifm buffer from a part's first row to that of the next part."""
    if layer.slices.count > 1:
        return len(layer.tiles) * layer.slices.count * layer.ifm_words
    first, last = layer.tiles[0].strip.ifm, layer.tiles[-1].strip.ifm
    return ((last[-1] - first[0]) // first.step + 1) * layer.row_words


def _pays_early(before: Part, part: Part) -> bool:
    """Say whether the model finds a part faster if its ifm is loaded while the one before runs.

    The array's reads of the buffer come first, so such a load may take longer than one alone.
    """
    config = part.layer.config
    last, first = before.words()[-1], part.words()[0]
    ends = tile_cycles(config, last, KEPT)
    late, early = (tile_cycles(config, first | {"early": flag}, KEPT) for flag in (0, 1))
    return early.behind(ends).elapsed <= late.behind(ends).elapsed


def _fits_behind(before: LoweredLayer, layer: LoweredLayer) -> bool:
    """Say whether a part's first rows fit into the ifm buffer beside what is read before them."""
    if layer.slices.count > 1:
        return True  # slices wait for room by themselves
    words = len(before.tiles[-1].strip.ifm) * before.row_words
    return words + len(layer.tiles[0].strip.load) * layer.row_words <= layer.config.ifm_words
