"""The networks that are simulated and measured whole, and where their bundles come from.

A bundle with trained weights is used where there is one. Otherwise the command `quant.untrained`
makes one with random weights and predictors fitted to them, once.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from golden.bundle import MANIFEST, Bundle
from golden.errors import UserError
from tb.paths import REPOSITORY

__all__ = ["MEMORY_END", "NETWORKS", "WholeNetwork", "find_network", "network_of_bundle"]

MEMORY_END = 1 << 28
"""Bytes of simulated memory: enough for the largest network, so that one build serves all."""

_BUILD = Path("build")
_BUNDLES = Path("examples/bundles")
_SEED = 1
_ERROR = "error: "
"""The start of the line that a command prints for a UserError."""


@dataclass(frozen=True, kw_only=True)
class WholeNetwork:
    """A network and the bundle that it is run from.

    Parameters
    ----------
    model : str
        Its name in `quant.networks.registry`, or that of the user's network.
    config : str
        The core that it is run on, unless the user names another.
    trained : Path, optional
        Where the bundle with trained weights lies, if one can be had.
    point : str
        The operating point of that bundle.
    random_weights : bool
        Whether a bundle with random weights is made where the trained one is missing.
    """

    model: str
    config: str = "default"
    trained: Path | None = None
    point: str = "default"
    random_weights: bool = True

    @property
    def is_trained(self) -> bool:
        """True if the bundle with trained weights is there."""
        return self.trained is not None and (self.trained / MANIFEST).is_file()

    def load(self) -> tuple[Bundle, str]:
        """Load the bundle, made first if need be; return it and its operating point.

        Raises UserError where it can neither be read nor made.
        """
        if self.trained is not None and self.is_trained:
            return Bundle.load(self.trained), self.point
        if not self.random_weights:
            raise UserError(
                f"{self.trained}: no bundle there; make it with "
                f"python quant/export.py --model {self.model} --out {self.trained}"
            )
        folder = _BUILD / f"{self.model}-untrained"
        if not (folder / MANIFEST).is_file():
            _make_untrained(self.model, folder)
        return Bundle.load(folder), "default"


NETWORKS = {
    "digits": WholeNetwork(
        model="digits", config="small", trained=_BUILD / "digits", random_weights=False
    ),
    "resnet20": WholeNetwork(
        model="resnet20", trained=_BUILD / "resnet20-points", point="max-drop-1"
    ),
    "alexnet-cifar-half": WholeNetwork(
        model="alexnet-cifar-half", trained=_BUNDLES / "alexnet-cifar-half", point="max-drop-1"
    ),
    "vgg16-cifar-quarter": WholeNetwork(
        model="vgg16-cifar-quarter", trained=_BUNDLES / "vgg16-cifar-quarter", point="max-drop-1"
    ),
    "alexnet-cifar": WholeNetwork(model="alexnet-cifar"),
    "resnet18": WholeNetwork(model="resnet18"),
    "alexnet": WholeNetwork(model="alexnet"),
    "vgg16": WholeNetwork(model="vgg16"),
}
"""Name on the command line -> network, smaller ones first."""


def find_network(name: str) -> WholeNetwork:
    """Return the network of that name. Raises UserError where there is none."""
    if name not in NETWORKS:
        raise UserError(f"no network {name!r}; there are {', '.join(NETWORKS)}")
    return NETWORKS[name]


def network_of_bundle(folder: Path, point: str | None) -> tuple[str, WholeNetwork]:
    """Return the user's network: its name, and itself as `find_network` returns others.

    `point` is an operating point of the bundle; None stands for the first. Raises UserError where
    there is no bundle, or no such operating point.
    """
    manifest = Bundle.load(folder).manifest
    points = [one.name for one in manifest.operating_points]
    if not points:
        raise UserError(f"{folder}: it has no operating point; choose some with quant.choose")
    if point is not None and point not in points:
        raise UserError(f"{folder}: no operating point {point!r}; it has: {', '.join(points)}")
    network = WholeNetwork(
        model=manifest.name, trained=folder, point=point or points[0], random_weights=False
    )
    return manifest.name, network


def _make_untrained(model: str, folder: Path) -> None:
    """Run `quant.untrained` and show its progress. Raises UserError with its error if it fails.

    It runs in a process of its own: whoever simulates a network need not import training code.
    """
    command = [
        "-m",
        "quant.untrained",
        "--model",
        model,
        "--seed",
        str(_SEED),
        "--out",
        str(folder.absolute()),
    ]
    error = "it failed, see above"
    with subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=REPOSITORY,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(_ERROR):
                error = line.removeprefix(_ERROR).strip()
            else:
                print(line, end="", file=sys.stderr, flush=True)
    if process.returncode != 0:
        raise UserError(f"quant.untrained --model {model}: {error}")
