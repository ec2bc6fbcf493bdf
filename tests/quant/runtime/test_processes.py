"""Two processes under torchrun give the result of one.

torchrun also runs this module as a program, whose `main` is below.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from golden.bundle import Bundle
from golden.errors import UserError
from golden.pattern import MASKS
from quant import train
from quant.data.registry import Dataset, load
from quant.frontend.lowering import lower
from quant.networks.model import Model
from quant.networks.registry import MODELS
from quant.points.accounting import Evaluation
from quant.points.evaluation import evaluate
from quant.points.operating_points import add_operating_point
from quant.quantise.calibration import activation_scales
from quant.quantise.integer_network import quantise
from quant.runtime import processes
from quant.training.trainer import Trainer, float_top1
from quant.zap.predictor import Site, Zap
from quant.zap.quantisation import add_zaps
from quant.zap.training import train_zaps
from tests.quant.tiny_networks import randomise_batch_norms

ROOT = Path(__file__).resolve().parents[3]
MODEL = MODELS["digits"]
SITES = [Site("conv2", MASKS["B"]), Site("conv6", MASKS["D"])]


class Double(Model):
    """A model that computes in float64."""

    def normalise(self, pixels: Tensor) -> Tensor:
        return super().normalise(pixels.double())


def trained(dataset: Dataset) -> tuple[dict[str, Tensor], float]:
    """Train for one epoch. Its last batch is a single image, so one of two processes has none."""
    model = Double(**vars(MODEL))
    torch.manual_seed(1)
    module = model.build(10).double()
    recipe = replace(model.recipe, epochs=1, flip=True)
    Trainer(model, module, dataset.train.first(4 * recipe.batch + 1), recipe, seed=1).run_epoch()
    return module.state_dict(), float_top1(model, module, dataset.held_out, device="cpu")


def untrained_bundle(dataset: Dataset) -> Bundle:
    """Return the digits network with random weights, quantised."""
    torch.manual_seed(2)
    module = MODEL.build(10).eval()
    randomise_batch_norms(module)
    graph = lower(module, dataset.shape)
    images = MODEL.normalise(dataset.train.first(64).pixels(slice(None)))
    scales = activation_scales(graph, MODEL, [images])
    return quantise(graph, scales, MODEL, name="digits", classes=dataset.classes)


def evaluated(bundle: Bundle, dataset: Dataset) -> Evaluation:
    """Evaluate with random predictors on an odd number of images."""
    zaps = {site: Zap(bundle.manifest.activations[site.layer].shape[0]).eval() for site in SITES}
    choices = {site.layer: (site.pattern, 0.1) for site in SITES}
    bundle = add_zaps(bundle, zaps, dataset.train.first(64))
    return evaluate(
        *add_operating_point(bundle, "random", choices).at("random"), dataset.test.first(351)
    )


def everything() -> dict[str, Any]:
    """Return everything that is compared."""
    dataset = load("digits", None)
    weights, top1 = trained(dataset)
    bundle = untrained_bundle(dataset)
    torch.set_default_dtype(torch.float64)
    try:
        zaps = train_zaps(bundle, SITES, dataset.train.first(4 * 32 + 1), epochs=1, seed=1)
    finally:
        torch.set_default_dtype(torch.float32)
    return {
        "weights": weights,
        "top1": top1,
        "zaps": {site.name: zap.state_dict() for site, zap in zaps.items()},
        "evaluation": repr(evaluated(bundle, dataset)),
        "one image": repr(evaluate(bundle, {}, dataset.test.first(1))),
    }


def main() -> None:
    """Run `compare DIR`, which writes results and runs a command, or `fail RANK ...`."""
    match sys.argv[1:]:
        case ["compare", directory]:
            result = everything()
            if processes.is_first():
                torch.save(result, Path(directory) / "two.pt")
            out = str(Path(directory) / "weights.pt")
            sys.argv = ["train", "--model", "digits", "--epochs", "1", "--out", out]
            train.main()
        case ["fail", *ranks]:
            if str(processes.rank()) in ranks:
                raise UserError("image 7: not readable")
            processes.gathered("what the others will never send")


def torchrun(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `-m MODULE ...` in two processes."""
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    arguments: Sequence[str | Path] = [*program, "--nproc-per-node", "2", "-m", *command]
    return subprocess.run(
        arguments, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )


@pytest.mark.second
def test_two_processes_give_what_one_does(tmp_path: Path) -> None:
    """Results are equal exactly for integers, and up to rounding for floats.

    Adam enlarges rounding: a gradient that is nothing but rounding noise moves its weight by whole
    steps. So training is compared in float64, where a wrong share or weight cannot be mistaken for
    rounding.
    """
    done = torchrun("tests.quant.runtime.test_processes", "compare", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote") == 1
    assert {file.name for file in tmp_path.iterdir()} == {"two.pt", "weights.pt"}
    two, one = torch.load(tmp_path / "two.pt", weights_only=True), everything()
    assert two["evaluation"] == one["evaluation"]
    assert two["one image"] == one["one image"]
    assert two["top1"] == one["top1"]
    for part in ("weights", "zaps"):
        torch.testing.assert_close(two[part], one[part], rtol=1e-7, atol=1e-7)


@pytest.mark.second
@pytest.mark.parametrize("ranks", ["1", "01"])
def test_a_user_error_is_one_line_and_ends_all_processes(ranks: str) -> None:
    """The error is in one process, which the other waits for, or in both.

    torchrun adds its own traceback.
    """
    done = torchrun("tests.quant.runtime.test_processes", "fail", *ranks)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors == ["error: image 7: not readable"]
    assert done.stderr.count("Traceback") == 1
    assert re.search(r"exitcode *: 2 ", done.stderr)
    assert done.returncode == 1


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    processes.check_device("cuda")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    processes.check_device("cpu")
    with pytest.raises(UserError, match="4 processes on a machine with 2 CUDA devices"):
        processes.check_device("cuda")


if __name__ == "__main__":
    processes.run_parallel(main)
