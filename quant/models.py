"""The built-in networks and how weights get into them.

A network is one entry of `MODELS`; add one there.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golden.errors import UserError

__all__ = ["MODELS", "Model", "OptionA", "load_weights"]


class OptionA(nn.Module):
    """The parameter-free shortcut of He et al. (section 4.2): subsample, pad with zero channels.

    Parameters
    ----------
    stride : int
        Every stride-th pixel in both directions, from (0, 0).
    channel_offset : int
        Zero channels before the tensor's own, and as many after.
    """

    def __init__(self, stride: int, channel_offset: int) -> None:
        super().__init__()
        self.stride = stride
        self.channel_offset = channel_offset

    def forward(self, x: Tensor) -> Tensor:
        picked = x[:, :, :: self.stride, :: self.stride]
        return F.pad(picked, (0, 0, 0, 0, self.channel_offset, self.channel_offset))


class Digits(nn.Module):
    """Six convolutions for 1x16x16 digits: 3x3, 5x5, 1x1, one strided; each with BN and ReLU."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.conv3 = nn.Conv2d(16, 24, 3, stride=2, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(24)
        self.conv4 = nn.Conv2d(24, 24, 5, padding=2, bias=False)
        self.bn4 = nn.BatchNorm2d(24)
        self.conv5 = nn.Conv2d(24, 32, 1, bias=False)
        self.bn5 = nn.BatchNorm2d(32)
        self.pool = nn.MaxPool2d(2)
        self.conv6 = nn.Conv2d(32, 48, 3, padding=1, bias=False)
        self.bn6 = nn.BatchNorm2d(48)
        self.fc = nn.Linear(48 * 4 * 4, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.relu(self.bn3(self.conv3(x)))
        x = F.relu(self.bn4(self.conv4(x)))
        x = F.relu(self.bn5(self.conv5(x)))
        x = F.relu(self.bn6(self.conv6(self.pool(x))))
        return self.fc(torch.flatten(x, 1))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, option A where the shape changes (He et al., 2015)."""

    def __init__(self, c_i: int, c_o: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_i, c_o, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_o)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(c_o, c_o, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_o)
        same = stride == 1 and c_i == c_o
        self.shortcut = nn.Identity() if same else OptionA(stride, (c_o - c_i) // 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + self.shortcut(x))


class CifarResNet(nn.Module):
    """The ResNets of He et al. (section 4.2) for 3x32x32: 6 * blocks + 2 layers.

    The names in its state dict are those of Yerlan Idelbayev's pretrained files.
    """

    def __init__(self, blocks: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(self.flatten(self.pool(x)))


def _stage(c_i: int, c_o: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(c_i, c_o, stride)
    return nn.Sequential(first, *(BasicBlock(c_o, c_o, 1) for _ in range(blocks - 1)))


@dataclass(frozen=True)
class Model:
    """A built-in network.

    Parameters
    ----------
    build : number of classes -> untrained module
    dataset : str
        What it is for, unless the user says otherwise.
    mean, std : one number for each input channel
        Its input is (pixel - mean) / std.
    sigma : float
        A ZAP threshold that costs little accuracy: the default.
    epochs : int or None
        How long `quant.train` trains it from scratch; None where that is not done here.
    """

    build: Callable[[int], nn.Module]
    dataset: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sigma: float
    epochs: int | None = None

    def normalise(self, pixels: Tensor) -> Tensor:
        """Pixels of 0 .. 1, (n, channels, h, w), as the network wants them."""
        mean, std = (pixels.new_tensor(v).view(-1, 1, 1) for v in (self.mean, self.std))
        return (pixels - mean) / std


MODELS = {
    "digits": Model(Digits, "digits", mean=(0.0,), std=(1.0,), sigma=0.3, epochs=40),
    "resnet20": Model(
        lambda classes: CifarResNet(3, classes),
        "cifar10",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        sigma=0.1,
    ),
}
"""Name on the command line -> network."""


def load_weights(module: nn.Module, file: Path) -> None:
    """Fill a module from a saved state dict, bare or under the key `state_dict`.

    A `module.` before the names (left by DataParallel) is dropped. Nothing in the file is executed.
    Raises UserError naming the file and the entry that is missing, unknown, misshapen, not finite.
    """
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{file}: not found") from None
    except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{file}: not a readable state dict: {reason}") from None
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{file}: holds no state dict")
    state = {name.removeprefix("module."): value for name, value in state.items()}

    wanted = module.state_dict()
    for name in sorted(wanted.keys() | state.keys()):
        if name not in state:
            if not name.endswith("num_batches_tracked"):  # older files lack it, nothing uses it
                raise UserError(f"{file}: {name}: missing; the file is for another model")
        elif name not in wanted:
            raise UserError(f"{file}: {name}: unknown to the model; the file is for another one")
        elif state[name].shape != wanted[name].shape:
            raise UserError(
                f"{file}: {name}: has shape {tuple(state[name].shape)}, "
                f"the model's has {tuple(wanted[name].shape)}"
            )
        elif not bool(state[name].isfinite().all()):
            raise UserError(f"{file}: {name}: contains NaN or infinity")
    module.load_state_dict(state, strict=False)
