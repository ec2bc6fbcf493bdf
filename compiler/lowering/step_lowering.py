"""Lowers one step of a network: its convolution with the channels as they lie in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from compiler.lowering.cut_search import lower_fastest
from compiler.lowering.layer_lowering import LoweredLayer
from compiler.lowering.slices import cut_slices, expanded
from compiler.lowering.steps import Step
from compiler.memory_layout import Place
from golden.errors import UserError
from golden.layers import Conv, Pool, Predictor
from hw.contract.config import Config
from hw.contract.program import MOST_SIZE

__all__ = ["StepShape", "lower_step", "step_shape"]


@dataclass(frozen=True, kw_only=True)
class StepShape:
    """A step as `compiler.lowering.cut_search.lower_fastest` takes it.

    Parameters
    ----------
    conv : Conv
        Slots of the ifm that hold no channel have weights of zero.
    size : (slots, height, width)
        Of the ifm.
    ifm_signed, residual_signed : bool
    pool : Pool or None
    """

    conv: Conv
    size: tuple[int, int, int]
    ifm_signed: bool
    residual_signed: bool
    pool: Pool | None


def lower_step(
    config: Config,
    step: Step,
    layouts: Mapping[str, Place],
    predictors: Mapping[str, Predictor],
) -> LoweredLayer:
    """A step as tiles, for one image.

    Raises UserError as `step_shape` does, and a `compiler.lowering.misfit.Misfit` where the
    configuration has too little of one of its fields.
    """
    shape = step_shape(config, step, layouts)
    return lower_fastest(
        config,
        shape.conv,
        shape.size,
        ifm_signed=shape.ifm_signed,
        residual_signed=shape.residual_signed,
        predictor=predictors.get(step.name),
        pool=shape.pool,
    )


def step_shape(config: Config, step: Step, layouts: Mapping[str, Place]) -> StepShape:
    """Return a step's convolution with the channels as they lie in memory.

    A residual has the place that `compiler.rewriting.residual_copies` sees to. Raises UserError
    where no core takes the layer.
    """
    ifm = layouts[step.input]
    residual = layouts.get(step.residual)
    size = (ifm.slot_count, *ifm.shape[1:])
    channels, _, width = size  # a strip has few rows of any height
    if max(channels, width) > MOST_SIZE:
        raise UserError(
            f"layer {step.name!r} reads {'x'.join(map(str, size))} (channels, height, width); "
            f"the core takes {MOST_SIZE} of each at most, but any height"
        )
    conv = step.conv
    if ifm.slot_count > ifm.shape[0]:
        whole = cut_slices(replace(conv, groups=1), ifm.shape[0], config.group)
        weight = conv.weight.new_zeros(len(conv.weight), ifm.slot_count, *conv.kernel)
        weight[:, ifm.slots] = expanded(conv, whole)
        conv = replace(conv, weight=weight, groups=1)
    return StepShape(
        conv=conv,
        size=size,
        ifm_signed=ifm.signed,
        residual_signed=residual is not None and residual.signed,
        pool=step.pool,
    )
