"""Several processes that run one command together, each on its share of the images.

    torchrun --nproc-per-node 2 -m quant.train --model NAME --out FILE

All processes read the same files and take the same steps. What each makes of its share is summed,
so that the result is that of one process: exactly where integers are counted, but for rounding
where floats are added. One process alone, without torchrun, finds that its share is everything.

Only the first process shows anything and writes files. Gloo joins processes on CPUs, NCCL those on
GPUs, each of which has one of its own.
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
    """Which process this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this is the process that writes files."""
    return rank() == 0


def share() -> slice:
    """Which elements, of a sequence that all processes have, are this one's.

    Every n-th: processes differ by one element at most, and have their share of the first few too.
    """
    return slice(rank(), None, world_size())


def gathered(value: _Value) -> list[_Value]:
    """What each process has called this with, in their order."""
    if not dist.is_initialized():
        return [value]
    values = [value] * world_size()
    dist.all_gather_object(values, value)
    return values


def replica(module: nn.Module) -> nn.Module:
    """The module to call in training, in all processes at once, each with its share of a batch.

    It has the very parameters and buffers of `module`, whose gradients become the mean of the
    processes': a loss that is summed over a share wants `world_size()` / elements of the batch as
    its factor. BatchNorm takes its statistics from the whole batch. A share may be empty.
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
    # A kernel of one channel can be laid out in two ways, which is of no account.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    return DistributedDataParallel(copy, forward_sync_buffers=False)


class _Sum(torch.autograd.Function):
    """Of the processes' tensors, in all of them; so are its gradients."""

    @staticmethod
    def forward(ctx: FunctionCtx, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)


class _WholeBatchNorm(nn.Module):
    """`nn.SyncBatchNorm`, which is for GPUs, on CPUs."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Of this process's share (images, channels, height, width), by statistics of all."""
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
    """Raise UserError where `device` is cuda and some process of this machine would have none."""
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
    """`golden.errors.run_cli` for a command that torchrun may have started several times.

    Whichever process is first to meet a UserError prints it; all exit with status 2, at once, also
    those that wait for one that is gone. (torchrun then adds a report of its own and exits with 1.)
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
        else:  # ending now could make torchrun end the one that is about to print
            store.wait([_TOLD], _PATIENCE)
        _leave()
    except SystemExit:  # of argparse: all processes have the same arguments
        dist.barrier()
        raise
    except RuntimeError:
        if store.check([_TOLD]):  # a process that this one waited for is gone
            _leave()
        raise
    dist.destroy_process_group()
    sys.exit(status)


def _join() -> dist.Store:
    """Become one of torchrun's processes; returns what they share while they run."""
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    store, rank, world_size = next(dist.rendezvous("env://"))
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size)
    return store


def _leave() -> None:
    """Exit with status 2 and without a farewell, which would wait for processes that are busy."""
    sys.stderr.flush()
    os._exit(2)


@contextmanager
def _only_the_first_talks() -> Iterator[None]:
    """Drop what the other processes write to stdout and stderr, but not their tracebacks."""
    with ExitStack() as stack:
        if not is_first():
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        yield
