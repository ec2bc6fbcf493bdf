"""Running one command in several processes, each of which works on its share of the images.

    torchrun --nproc-per-node 2 -m quant.train --model NAME --out FILE

All processes read the same files and take the same steps. Each computes a result for its share,
and the results are summed. So the sum is that of one process: exactly for integers, and up to
rounding for floats. In a single process, without torchrun, the share is everything.

Only the first process prints and writes files. Gloo connects processes on CPUs. NCCL connects
processes on GPUs, where each process has its own GPU.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from copy import deepcopy
from datetime import timedelta
from itertools import chain
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn.parallel import DistributedDataParallel

from golden.errors import UserError, run_cli, tell

__all__ = [
    "check_device",
    "gathered",
    "is_first",
    "rank",
    "replica",
    "run_parallel",
    "share",
    "world_size",
]

_Value = TypeVar("_Value")
_ERRORS = "user errors"
_TOLD = "a user error is on the screen"
_PATIENCE = timedelta(seconds=60)


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Return whether this is the process that writes files."""
    return rank() == 0


def share() -> slice:
    """Return the slice of this process's elements, for a sequence that all processes have.

    It takes every n-th element. So shares differ by one element at most, and each process has its
    share of the first few elements too.
    """
    return slice(rank(), None, world_size())


def gathered(value: _Value) -> list[_Value]:
    """Return the values that all processes called this with, in the order of the processes."""
    if not dist.is_initialized():
        return [value]
    values = [value] * world_size()
    dist.all_gather_object(values, value)
    return values


def replica(module: nn.Module) -> nn.Module:
    """Return the module to call in training, in all processes, each with its share of a batch.

    It shares its parameters and buffers with `module`. Gradients become the mean of the processes'
    gradients; so a loss that is summed over a share must be multiplied by `world_size()` / elements
    of the batch. BatchNorm takes its statistics from the whole batch. A share may be empty.
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


def check_device(device: str) -> None:
    """Raise UserError if `device` is cuda and a process of this machine would have no GPU."""
    if device != "cuda":
        return
    if not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch finds no CUDA device here; use --device cpu")
    here, devices = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if here > devices:
        raise UserError(
            f"--device cuda: {here} processes on a machine with {devices} CUDA devices; "
            f"use --nproc-per-node {devices}"
        )


def run_parallel(main: Callable[[], int | None]) -> None:
    """Run a command as `golden.errors.run_cli` does; torchrun may have started it several times.

    The first process that raises a UserError prints it. All processes then exit with status 2 at
    once, also those that wait for a process that has ended. (torchrun adds a report of its own and
    exits with status 1.)
    """
    if not dist.is_torchelastic_launched():
        run_cli(main)
        return
    store = _join()
    try:
        with _only_the_first_talks():
            status = main()
    except UserError as error:
        if store.add(_ERRORS, 1) == 1:
            tell(error)
            store.set(_TOLD, "")
        else:  # if this one ended now, torchrun might end the one that is about to print
            store.wait([_TOLD], _PATIENCE)
        _leave()
    except SystemExit:  # from argparse: all processes have the same arguments
        dist.barrier()
        raise
    except RuntimeError:
        if store.check([_TOLD]):  # a process that this one waited for has ended
            _leave()
        raise
    dist.destroy_process_group()
    sys.exit(status)


def _join() -> dist.Store:
    """Join torchrun's processes; return the store that they share while they run."""
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    store, rank, world_size = next(dist.rendezvous("env://"))
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size)
    return store


def _leave() -> None:
    """Exit with status 2 and no clean-up, which would wait for processes that are busy."""
    sys.stderr.flush()
    os._exit(2)


@contextmanager
def _only_the_first_talks() -> Iterator[None]:
    """Discard stdout and stderr of all processes but the first; tracebacks are still shown."""
    with ExitStack() as stack:
        if not is_first():
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        yield
