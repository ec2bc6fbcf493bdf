"""Training one module in several processes, each with its share of every batch."""

from __future__ import annotations

import warnings
from copy import deepcopy
from itertools import chain

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn.parallel import DistributedDataParallel

__all__ = ["replica"]


def replica(module: nn.Module) -> nn.Module:
    """Return the module to call in training, in all processes, each with its share of a batch.

    It shares its parameters and buffers with `module`. Gradients become the mean of the processes'
    gradients; so a loss that is summed over a share must be multiplied by the number of processes
    / elements of the batch. BatchNorm takes its statistics from the whole batch. A share may be
    empty.
    """
    if not dist.is_initialized():
        return module
    tensors = chain(module.parameters(), module.buffers())
    copy = deepcopy(module, {id(tensor): tensor for tensor in tensors})
    if next(module.parameters()).is_cuda:
        copy = nn.SyncBatchNorm.convert_sync_batchnorm(copy)
    else:
        for parent in list(copy.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    setattr(parent, name, _WholeBatchNorm(child))
    # A kernel of one channel can be laid out in two ways, which makes no difference.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    return DistributedDataParallel(copy, forward_sync_buffers=False)


class _Sum(torch.autograd.Function):
    """Sums the tensors of all processes; its gradients are summed in the same way."""

    @staticmethod
    def forward(ctx: FunctionCtx, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)


class _WholeBatchNorm(nn.Module):
    """Does on CPUs what `nn.SyncBatchNorm` does on GPUs."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Normalise this process's share (images, channels, height, width) by statistics of all."""
        norm = self.norm
        if not norm.training:
            return norm(x)
        axes = (0, 2, 3)
        count = _Sum.apply(x.new_tensor(x.numel() // x.shape[1]))
        mean = _Sum.apply(x.sum(axes)) / count
        centred = x - mean.view(-1, 1, 1)
        variance = _Sum.apply(centred.square().sum(axes)) / count
        self._remember(mean.detach(), variance.detach() * (count / (count - 1)))
        gain = norm.weight * (variance + norm.eps).rsqrt()
        return centred * gain.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        norm = self.norm
        assert norm.momentum is not None
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        for running, new in ((norm.running_mean, mean), (norm.running_var, variance)):
            assert running is not None
            running.lerp_(new, norm.momentum)
