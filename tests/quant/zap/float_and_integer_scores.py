"""The scores of a float ZAP and of its integers, on images that it was not trained on."""

from __future__ import annotations

import torch

from golden.bundle import Bundle
from golden.layers import scores
from golden.network import Network, quantise_images
from quant.zap.predictor import Site, Zap
from tests.quant.tiny_networks import images


def float_and_integer_scores(
    bundle: Bundle, site: Site, zap: Zap
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return real scores of a ZAP at `I_t`, those of its integers, and which ofms are positive."""
    unseen = images(64, seed=9)
    integers = quantise_images(bundle, unseen.pixels(slice(None)))
    step = next(s for s in Network(bundle).steps(integers) if s.node.name == site.layer)
    mask = torch.from_numpy(site.pattern.mask(*step.ofm.shape[2:]))
    partial = step.ofm * mask
    with torch.no_grad():
        real = zap(partial * bundle.manifest.activations[step.node.output].scale)
    predictor = bundle.predictor(site.name, bundle.threshold(site.name, 0.0))
    scale, offset = (
        bundle.tensors[f"predictors.{site.name}.{field}"].view(-1, 1, 1)
        for field in ("score_scale", "score_offset")
    )
    integer = scores(predictor, partial) * scale + offset
    return real[..., ~mask], integer[..., ~mask], (step.ofm > 0)[..., ~mask]
