"""Lower torchvision's classifiers and compare each with its module, in float.

    python -m bench.torchvision_models [MODEL ...] [--torchvision DIR]

Weights are random, as torchvision initialises them; an image is random too. A table says of each
network how many layers it has and by how much it differs from the module, or why it is refused. The
last line counts them. torchvision is not needed for anything else:
`pip install --no-deps --target DIR torchvision==0.29.1` puts it into a folder.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import importlib
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from golden.arguments import Parser
from golden.errors import UserError, run_cli
from golden.terminal import Console
from quant.frontend.lowering import lower_checked
from quant.runtime.progress import progress

__all__ = ["Lowered", "classifiers", "lowered"]

_SIDES = {"inception_v3": 299}
_SIDE = 224
"""Height and width of the images of the other networks."""
_WITHOUT_HEADS = {"aux_logits": False, "init_weights": False}
"""GoogLeNet and Inception v3 have other classifiers for training, and a slow initialisation."""
_OPERATORS = ("nms", "qnms")
"""Operators that torchvision looks for as it is imported. Its file of them may be built for another
PyTorch; no classifier uses one."""


@dataclass(frozen=True)
class Lowered:
    """A network that was lowered and compared, or why it was not.

    Parameters
    ----------
    layers : int
        0 where it was refused.
    refusal : str
        Empty where it was lowered and gives what the module gives.
    """

    name: str
    layers: int
    refusal: str
    seconds: float


def classifiers(folder: Path | None = None) -> Any:
    """The module `torchvision.models`. Raises UserError where it cannot be imported."""
    if folder is not None:
        sys.path.append(str(folder))
    try:
        return importlib.import_module("torchvision.models")
    except ModuleNotFoundError as error:
        raise UserError(
            f"no package {error.name}: pip install --no-deps --target DIR torchvision==0.29.1,"
            " and give --torchvision DIR"
        ) from None
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        _define_operators()
        return importlib.import_module("torchvision.models")


def _define_operators() -> None:
    library = torch.library.Library("torchvision", "DEF")
    for name in _OPERATORS:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept.append(library)


_kept: list[torch.library.Library] = []
"""An operator is forgotten together with its library."""


def lowered(models: Any, names: Sequence[str]) -> Iterator[Lowered]:
    """Lower classifiers and compare them with their modules."""
    for name in names:
        torch.manual_seed(0)
        start = time.monotonic()
        options = _WITHOUT_HEADS if name in ("googlenet", "inception_v3") else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = models.get_model(name, weights=None, **options).eval()
        side = _SIDES.get(name, _SIDE)
        layers, refusal = 0, ""
        try:
            layers = len(lower_checked(module, torch.randn(1, 3, side, side)).layers)
        except UserError as error:
            refusal = str(error)
        yield Lowered(name, layers, refusal, time.monotonic() - start)


def main() -> None:
    parser = Parser(prog="bench.torchvision_models", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="MODEL", help="classifiers (default: all)")
    parser.add_argument(
        "--torchvision", type=Path, metavar="DIR", help="folder that has the package"
    )
    arguments = parser.parse_args()
    models = classifiers(arguments.torchvision)
    known = models.list_models(module=models)
    for name in arguments.names:
        if name not in known:
            raise UserError(f"no classifier {name!r} in torchvision; it has: {', '.join(known)}")
    names = arguments.names or known
    table = Table("network", "layers", "seconds", "refused")
    results = list(progress(lowered(models, names), len(names), "lowering"))
    for result in results:
        layers = str(result.layers) if result.layers else "-"
        table.add_row(result.name, layers, f"{result.seconds:.0f}", result.refusal)
    console = Console()
    console.print(table)
    equal = sum(not result.refusal for result in results)
    console.print(
        f"{equal} of {len(results)} are lowered and equal to their modules", highlight=False
    )


if __name__ == "__main__":
    run_cli(main)
