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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from golden.errors import (
    INTERRUPTED,
    UserError,
    print_anything,
    run_cli,
    tell,
    tell_interrupted,
)

__all__ = [
    "check_device",
    "gathered",
    "is_first",
    "rank",
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

    The first process that raises a UserError or an OSError prints it. All processes then exit with
    status 2 at once, also those that wait for a process that has ended. (torchrun adds a report of
    its own and exits with status 1.)
    """
    if not dist.is_torchelastic_launched():
        run_cli(main)
        return
    print_anything()
    store, own_rank, processes = next(dist.rendezvous("env://"))
    try:
        _join(store, own_rank, processes)
        with _only_the_first_talks():
            status = main()
    except (UserError, OSError) as error:
        if store.add(_ERRORS, 1) == 1:
            tell(error)
            store.set(_TOLD, "")
        else:  # if this one ended now, torchrun might end the one that is about to print
            store.wait([_TOLD], _PATIENCE)
        _leave(2)
    except KeyboardInterrupt:
        if is_first():
            tell_interrupted()
        _leave(INTERRUPTED)
    except SystemExit:  # from argparse: all processes have the same arguments
        dist.barrier()
        raise
    except RuntimeError:
        if store.check([_TOLD]):  # a process that this one waited for has ended
            _leave(2)
        raise
    dist.destroy_process_group()
    sys.exit(status)


def _join(store: dist.Store, own_rank: int, processes: int) -> None:
    """Join torchrun's processes, which share the store while they run.

    Raises RuntimeError if another one has ended meanwhile.
    """
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    dist.init_process_group(backend, store=store, rank=own_rank, world_size=processes)


def _leave(status: int) -> None:
    """Exit with no clean-up, which would wait for processes that are busy."""
    sys.stderr.flush()
    os._exit(status)


@contextmanager
def _only_the_first_talks() -> Iterator[None]:
    """Discard stdout and stderr of all processes but the first; tracebacks are still shown."""
    with ExitStack() as stack:
        if not is_first():
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        yield
