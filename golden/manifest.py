"""The schema of a bundle's `manifest.json`: a network as a graph of quantised layers.

pydantic checks the types and ranges of single fields. `golden.bundle_check` checks the rest: that
tensors exist, and that shapes follow from the graph. The schema version changes whenever an older
reader would misread or refuse a newer bundle.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from golden.arithmetic import MULTIPLIER_BITS, SHIFT_MAX, SHIFT_MIN

__all__ = [
    "CHECKED_VERSION",
    "MANIFEST",
    "READABLE_VERSIONS",
    "SCHEMA_VERSION",
    "TENSORS",
    "Activation",
    "ConcatNode",
    "ConvNode",
    "Figures",
    "Input",
    "LayerChoice",
    "Manifest",
    "Node",
    "OperatingPoint",
    "PoolNode",
    "PredictorNode",
    "ReshapeNode",
    "ShortcutNode",
    "TimeChoice",
]

MANIFEST = "manifest.json"
TENSORS = "tensors.safetensors"
"""The two files of a bundle."""

SCHEMA_VERSION: Final = 4
"""The version that is written."""

READABLE_VERSIONS: Final = (2, 3, 4)
"""The versions that are read. In version 2 a padding is two numbers, (rows, columns). Version 4 has
what older readers refuse: groups, dilation, negative padding, reshaping and other outputs."""

CHECKED_VERSION: Final = 4
"""The first version whose files have checksums (`golden.checksums`)."""


def _on_four_sides(padding: Any) -> Any:
    """Expand the padding of a bundle of version 2: opposite sides have the same."""
    if isinstance(padding, list | tuple) and len(padding) == 2:
        rows, columns = padding
        return rows, rows, columns, columns
    return padding


def _written_version(version: Any) -> Any:
    """The version under which a manifest that was read is written again."""
    return SCHEMA_VERSION if version in READABLE_VERSIONS else version


MOST_SIZE: Final = (1 << 16) - 1
"""No tensor has more channels, rows or columns, no step or padding is larger."""

MOST_ACTIVATIONS: Final = 1 << 28
"""No tensor has more activations."""

MOST_LAYERS: Final = 4096

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]*$", max_length=200)]
Size = Annotated[int, Field(ge=1, le=MOST_SIZE)]
Pair = tuple[Size, Size]
Side = Annotated[int, Field(ge=0, le=MOST_SIZE)]
Padding = Annotated[tuple[Side, Side, Side, Side], BeforeValidator(_on_four_sides)]
Margin = Annotated[int, Field(ge=-MOST_SIZE, le=MOST_SIZE)]
Margins = Annotated[tuple[Margin, Margin, Margin, Margin], BeforeValidator(_on_four_sides)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Scale = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class Activation(_Strict):
    """An 8-bit tensor between layers: value = scale * integer."""

    shape: tuple[Size, Size, Size]
    """(channels, height, width)."""
    signed: bool
    """s8 if it may be negative, else u8."""
    scale: Scale


class Input(_Strict):
    """The network's input: an image as round((pixel - mean) / std / scale), saturated."""

    tensor: Name
    mean: list[Finite]
    """Per channel, for pixels in 0 .. 1."""
    std: list[Scale]


class ShortcutNode(_Strict):
    """A residual added before requantisation; see `golden.layers.Shortcut`.

    Tensors `layers.NAME.shortcut_multiplier`, `layers.NAME.shortcut_shift`: int32 (c_o,).
    """

    input: Name
    stride: Size = 1
    channel_offset: Side = 0


class ConvNode(_Strict):
    """A convolution, or a fully connected layer as one whose kernel covers its input.

    Tensors `layers.NAME.weight`: int8 (c_o, c_i / groups, k_h, k_w); `.bias`, `.multiplier`,
    `.shift`: int32 (c_o,).
    """

    op: Literal["conv"] = "conv"
    name: Name
    input: Name
    output: Name
    stride: Pair = (1, 1)
    padding: Margins = (0, 0, 0, 0)
    """(top, bottom, left, right); negative numbers leave out rows and columns of the ifm."""
    dilation: Pair = (1, 1)
    groups: Size = 1
    """Parts of the input channels that are convolved apart; each channel by itself is depthwise."""
    shortcut: ShortcutNode | None = None
    fully_connected: bool = False
    """Counts as no convolution in MAC figures."""

    @property
    def reads(self) -> list[str]:
        """The tensors that it needs."""
        return [self.input] if self.shortcut is None else [self.input, self.shortcut.input]


class PoolNode(_Strict):
    """Max pooling, or average pooling with its requantisation."""

    op: Literal["max_pool", "average_pool"]
    name: Name
    input: Name
    output: Name
    kernel: Pair
    stride: Pair
    padding: Padding = (0, 0, 0, 0)
    """(top, bottom, left, right)."""
    multiplier: Annotated[int, Field(ge=0, lt=1 << MULTIPLIER_BITS)] | None = None
    shift: Annotated[int, Field(ge=SHIFT_MIN, le=SHIFT_MAX)] | None = None

    @property
    def reads(self) -> list[str]:
        """The tensors that it needs."""
        return [self.input]


class ConcatNode(_Strict):
    """The channels of several tensors, one tensor after the other.

    All of them and the output have the same scale and type, so no number changes.
    """

    op: Literal["concat"] = "concat"
    name: Name
    inputs: Annotated[list[Name], Field(min_length=1)]
    output: Name

    @property
    def reads(self) -> list[str]:
        """The tensors that it needs."""
        return self.inputs


class ReshapeNode(_Strict):
    """A tensor with another height and width: its pixels in raster order are the same.

    Scale, type and the number of channels are those of its input, so nothing is computed.
    """

    op: Literal["reshape"] = "reshape"
    name: Name
    input: Name
    output: Name

    @property
    def reads(self) -> list[str]:
        """The tensors that it needs."""
        return [self.input]


Node = ConvNode | PoolNode | ConcatNode | ReshapeNode
"""A layer."""


class PredictorNode(_Strict):
    """A trained ZAP of one layer for one pattern.

    Tensors `predictors.NAME.weight1`, `.weight2`: int8 (c, 3, 3); `.bias1`, `.shift1`: int32 (c,);
    `.score_scale`, `.score_offset`: float64 (c,), real score = scale * integer score + offset.
    """

    layer: Name
    pattern: str
    """As `Pattern.parse` reads it."""


class LayerChoice(_Strict):
    """The predictor and threshold that a layer runs with at an operating point.

    Tensor `operating_points.POINT.LAYER.threshold`: int32 (c,), as `arithmetic.threshold` makes it.
    """

    predictor: Name
    sigma: float | None
    """The threshold on the real score; None where each channel has its own. Infinity skips all,
    minus infinity none."""


class Figures(_Strict):
    """The cost and the savings of an operating point."""

    top1: Finite | None = None
    """Top-1 accuracy in percent of the quantised network with ZAP."""
    drop: Finite | None = None
    """Percentage points of top-1 lost against the same quantised network without ZAP. A predicted
    drop is a bound: two standard errors above the loss that is expected."""
    deviation: Finite | None = None
    """The standard error of the loss, in percentage points."""
    mac_reduction: Finite | None = None
    """Skipped conv MACs / all conv MACs, the first layer included."""
    images: int | None = None
    """Number of images that the figures are from."""


class TimeChoice(_Strict):
    """The basis of an operating point that was chosen by cycles saved, not by MACs."""

    config: str
    """Name of the core's configuration."""
    speed_up: Finite
    """Cycles without ZAP / cycles with it that were predicted."""
    left_out: list[Name]
    """Layers that have a predictor and run without: it would slow them, or gain too little."""


class OperatingPoint(_Strict):
    """A predictor and a threshold table for each layer that has one; the rest run dense.

    Layers that were adapted to the operating point have tensors of their own: for each field that
    `adapted` names, `operating_points.POINT.LAYER.FIELD` takes the place of `layers.LAYER.FIELD`.
    Recalibration adapts biases and requantisation; fine-tuning also adapts weights.
    """

    name: Name
    layers: dict[Name, LayerChoice]
    adapted: dict[Name, list[str]] = {}
    by_time: TimeChoice | None = None
    predicted: Figures | None = None
    measured: Figures | None = None


class Manifest(_Strict):
    """Everything of a bundle except its tensors."""

    schema_version: Annotated[Literal[4], BeforeValidator(_written_version)]
    name: Name
    input: Input
    output: Name
    """The tensor whose largest channel is the class."""
    other_outputs: list[Name] = []
    """The other tensors that the network returns, in order."""
    classes: list[str]
    activations: dict[Name, Activation]
    layers: Annotated[
        list[Annotated[Node, Field(discriminator="op")]], Field(max_length=MOST_LAYERS)
    ]
    """In an order in which they can run."""
    predictors: dict[Name, PredictorNode] = {}
    operating_points: list[OperatingPoint] = []
    provenance: dict[str, str | int | float | None] = {}
    """The bundle's origin, in free form."""

    @property
    def outputs(self) -> list[str]:
        """All tensors that the network returns, in order."""
        return [self.output, *self.other_outputs]
