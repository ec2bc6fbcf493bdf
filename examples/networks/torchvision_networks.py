"""torchvision's networks with random weights, and BatchNorm statistics as after training.

    python quant/export.py --model examples/networks/torchvision_networks.py:resnet50 ...

torchvision must be importable; `--model torchvision.models:resnet50` takes a network as it is. A
torchvision that was built for another PyTorch looks for operators of its own when it is imported;
networks do not use them, so they are declared first where they are missing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from examples.networks.random_weights import settle

_IMAGES = (8, 3, 96, 96)
_LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
for _name in ("nms", "qnms"):
    if not hasattr(torch.ops.torchvision, _name):
        _LIBRARY.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from torchvision import models  # noqa: E402  (it looks for the operators above)


def _network(name: str, classes: int, **options: Any) -> nn.Module:
    """Make a network, and let its BatchNorms see images of noise."""
    network: nn.Module = getattr(models, name)(num_classes=classes, **options)
    settle(network, _IMAGES)
    return network


def resnet50(classes: int) -> nn.Module:
    return _network("resnet50", classes)


def resnext50(classes: int) -> nn.Module:
    return _network("resnext50_32x4d", classes)


def mobilenet_v2(classes: int) -> nn.Module:
    return _network("mobilenet_v2", classes)


def densenet121(classes: int) -> nn.Module:
    return _network("densenet121", classes)


def googlenet(classes: int) -> nn.Module:
    return _network("googlenet", classes, init_weights=True, aux_logits=False)


def shufflenet_v2(classes: int) -> nn.Module:
    return _network("shufflenet_v2_x0_5", classes)


def regnet_x_400mf(classes: int) -> nn.Module:
    return _network("regnet_x_400mf", classes)
