"""Saved weights are read in the usual wrappings and types; others are refused by name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from golden.errors import UserError
from quant.networks.weights import load_weights

State = dict[str, Tensor]


class Small(nn.Module):
    """A network with one submodule that a wrapper's prefix could be taken for."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.bn = nn.BatchNorm2d(2)
        self.module = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.module(self.bn(self.conv(x)).amax((2, 3)))


def saved(seed: int = 1) -> State:
    torch.manual_seed(seed)
    return Small().state_dict()


def renamed(prefix: str) -> State:
    return {prefix + name: value for name, value in saved().items()}


@pytest.mark.parametrize(
    "content",
    [
        lambda: saved(),
        lambda: {"state_dict": saved(), "epoch": 3},
        lambda: {"model": saved()},
        lambda: {"net": saved(), "acc": 91.2},
        lambda: {"model_state_dict": saved(), "optimizer_state_dict": {}},
        lambda: {"model": {"state_dict": saved()}},
        lambda: renamed("module."),
        lambda: renamed("_orig_mod."),
        lambda: {"state_dict": renamed("module._orig_mod.")},
        lambda: renamed("_orig_mod.module."),
        lambda: {name.replace("bn.", "bn._orig_mod."): value for name, value in saved().items()},
        lambda: {n: v for n, v in saved().items() if not n.endswith("num_batches_tracked")},
    ],
)
def test_usual_wrappings_are_taken_off(content: Callable[[], Any], tmp_path: Path) -> None:
    torch.save(content(), tmp_path / "weights.pt")
    module = Small()
    load_weights(module, tmp_path / "weights.pt", 3)
    expected = saved()
    for name, value in module.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(saved(), tmp_path / "weights.safetensors")
    module = Small()
    load_weights(module, tmp_path / "weights.safetensors", 3)
    assert torch.equal(module.conv.weight, saved()["conv.weight"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    state = {n: v.to(dtype) if v.is_floating_point() else v for n, v in saved().items()}
    torch.save(state, tmp_path / "weights.pt")
    module = Small()
    load_weights(module, tmp_path / "weights.pt", 3)
    assert module.conv.weight.dtype == torch.float32
    assert torch.equal(module.conv.weight, state["conv.weight"].float())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(3, dtype=torch.complex64), "module.bias: has values of type complex64, not"),
        (torch.zeros(3, dtype=torch.bool), "module.bias: has values of type bool, not dense"),
        (torch.zeros(3, dtype=torch.int8), "module.bias: has values of type int8, not dense"),
        (torch.ones(3).to_sparse(), "module.bias: has values of type float32, not dense"),
        (torch.full((3,), 1e300, dtype=torch.float64), "module.bias: contains NaN or infinity"),
        (torch.zeros(4), "module.bias: is for 4 classes, not for 3"),
    ],
)
def test_other_numbers_are_refused(value: Tensor, message: str, tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    torch.save(saved() | {"module.bias": value}, file)
    with pytest.raises(UserError, match=re.escape(f"{file}: {message}")):
        load_weights(Small(), file, 3)


def test_counts_that_are_no_integers_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    torch.save(saved() | {"bn.num_batches_tracked": torch.tensor(1j)}, file)
    message = "bn.num_batches_tracked: has values of type complex64, the model's are int64"
    with pytest.raises(UserError, match=re.escape(message)):
        load_weights(Small(), file, 3)


def test_every_damaged_file_is_refused_or_read_as_weights(tmp_path: Path) -> None:
    torch.save(saved(), tmp_path / "good.pt")
    content = (tmp_path / "good.pt").read_bytes()
    file = tmp_path / "weights.pt"
    for place in range(0, len(content), max(len(content) // 120, 1)):
        for damaged in (content[:place], content[:place] + b"\xff" + content[place + 1 :]):
            file.write_bytes(damaged)
            with suppress(UserError):
                load_weights(Small(), file, 3)


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "weights.pt")
    with pytest.raises(UserError, match="not readable: it is no regular file"):
        load_weights(Small(), tmp_path / "weights.pt", 3)


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("trapped", "w")


@pytest.mark.parametrize("content", [Trap(), {"state_dict": saved(), "extra": Trap()}, Small()])
def test_nothing_in_a_file_is_executed(
    content: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, "weights.pt")
    with pytest.raises(UserError, match=r"not a readable .*torch\.save\(module\.state_dict\(\)"):
        load_weights(Small(), Path("weights.pt"), 3)
    assert [file.name for file in tmp_path.iterdir()] == ["weights.pt"]


@pytest.mark.parametrize("content", [[], {}, {"a": 1}, {1: torch.zeros(1)}, {"model": {"a": 2}}])
def test_a_file_without_a_state_dict_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(UserError, match="holds no state dict"):
        load_weights(Small(), tmp_path / "weights.pt", 3)


def test_damaged_safetensors_are_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"no tensors at all")
    with pytest.raises(UserError, match="not a readable state dict"):
        load_weights(Small(), tmp_path / "weights.safetensors", 3)
