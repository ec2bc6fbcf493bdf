"""The steps that make everything under `docs/results/`: from which files, by which command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.pipeline import Step
from bench.scalesim import COMMITTED
from golden.bundle import MANIFEST
from quant.data.cifar import FOLDERS

__all__ = ["NETWORKS", "result_steps"]

_BUILD = Path("build")
_RESULTS = Path("docs/results")
_POINTS = _RESULTS / "operating_points.json"
_REPORT = _BUILD / "report"
_INT8, _INT8_NETWORKS = _RESULTS / "int8.json", _RESULTS / "int8_networks.txt"
_INT8_WEIGHTS = (
    "resnet20-12fca82f.th",
    "resnet8-mlperf-tiny.pth",
    "squeezenet1_0-imagenet.pth",
    "imagenet-1000.npz",
)
"""The files that the list of 8-bit networks reads from the folder given by --weights."""
_BUDGETS = "--max-drop 0.3 0.5 1 2 3"
_FINE_TUNED = "--fine-tune 2 --control"
_ALL_MASKS = "--also-pattern A C D"
_ON_THE_CORE = "digits resnet20 alexnet-cifar-half vgg16-cifar-quarter resnet18 alexnet vgg16"
"""The networks of `tb.runs.whole_networks` whose cycles are counted; the last takes an hour."""


@dataclass(frozen=True)
class Network:
    """A network that results are made from: its name in `quant.networks.registry`, its dataset."""

    name: str
    dataset: str
    weights: str
    """A file in the folder given by --weights."""
    export: str
    """Options of `quant/export.py`."""
    budgets: str = ""
    """Budgets of operating points beside those that every network has."""
    held_out: str = ""
    """Options for the images that accuracy losses are measured on."""
    fine_tuning: str = ""
    """Budgets of operating points that are fine-tuned, beside a control, if there are any."""
    trains: bool = True
    """True if it is trained here where the file of weights is missing."""


NETWORKS = (
    Network(
        "resnet20",
        "cifar10",
        "resnet20-12fca82f.th",
        export=f"{_ALL_MASKS} --zap-epochs 3",
        budgets="--mac-reduction 0.18 0.26",
        held_out="--unseen-accuracy 91.7",
        trains=False,
    ),
    Network(
        "alexnet-cifar-half",
        "cifar100",
        "alexnet-cifar-half.pt",
        export=f"{_ALL_MASKS} --zap-images 10000 --zap-epochs 2",
        budgets="0.7 --mac-reduction 0.38",
        fine_tuning="--mac-reduction 0.475 0.55",
    ),
    Network(
        "vgg16-cifar-quarter",
        "cifar10",
        "vgg16-cifar-quarter.pt",
        export=f"{_ALL_MASKS} --zap-epochs 3",
    ),
    *(
        Network(
            name,
            "cifar100",
            f"{name}-cifar100.pt",
            export=f"{_ALL_MASKS} --zap-images 10000 --zap-epochs 2",
            budgets=budgets,
            fine_tuning=fine_tuning,
            trains=False,
        )
        for name, budgets, fine_tuning in (
            ("alexnet-cifar", "0.7 --mac-reduction 0.40", "--mac-reduction 0.50 0.60"),
            ("vgg16-cifar", "--mac-reduction 0.38", "--mac-reduction 0.45"),
            ("resnet18-cifar", "0.9 --mac-reduction 0.26", "--mac-reduction 0.34"),
        )
    ),
)
"""Those of full width train for hours, by `python -m quant.train`, which is no step here."""


def result_steps(data: Path, weights: Path) -> list[Step]:
    """Return all steps in an order in which they can run.

    `data` and `weights` are the folders of the datasets and of pretrained networks.
    """
    digits = _BUILD / "digits"
    demo, picture = _RESULTS / "demo.txt", _RESULTS / "digits.png"
    chosen, cycles = _BUILD / "digits-points", _BUILD / "digits-points.json"
    resnet20 = _BUILD / "resnet20-points" / MANIFEST
    bundles = [digits, *(_BUILD / network.name for network in NETWORKS)]
    return [
        Step(
            "digits: bundle",
            _command("quant/export.py --out", digits),
            [],
            [digits / MANIFEST],
        ),
        Step(
            "digits: cycles of its layers",
            _command("-m compiler", digits, "--costs", cycles)
            + _command("--out", _BUILD / "digits-points.zap"),
            [digits / MANIFEST],
            [cycles],
        ),
        Step(
            "digits: operating points by cycles",
            _command("-m quant.choose", digits, "--costs", cycles, "--max-drop 0.5 1 2")
            + _command("--out", chosen),
            [digits / MANIFEST, cycles],
            [chosen / MANIFEST],
        ),
        Step(
            "digits: demo",
            _command("-m examples.demo --bundle", chosen, "--out", _RESULTS),
            [chosen / MANIFEST],
            [demo, picture],
            stdout=demo,
        ),
        *(step for network in NETWORKS for step in _network(network, data, weights)),
        *_squeezenet(weights),
        Step(
            "accuracy of 8 bits",
            _command("-m bench.quantisation", _INT8_NETWORKS, "--data", data)
            + _command("--weights", weights, "--json", _INT8),
            [_INT8_NETWORKS, *(weights / name for name in _INT8_WEIGHTS)],
            [_INT8],
        ),
        Step(
            "networks on the core",
            _command(f"-m bench.speed {_ON_THE_CORE} --data", data, "--out", COMMITTED),
            [digits / MANIFEST, resnet20],
            [COMMITTED / "summary.json"],
        ),
        Step(
            "several cores",
            _command("-m bench.cores digits --out", COMMITTED),
            [digits / MANIFEST],
            [COMMITTED / "cores.json"],
        ),
        Step(
            "configurations for ResNet-20",
            _command("-m bench.explore resnet20 --data", data, "--out", COMMITTED / "explore"),
            [resnet20],
            [COMMITTED / "explore" / "resnet20.json"],
        ),
        Step(
            "report",
            _command("-m bench.report", *bundles, "--data", data)
            + _command("--results", _POINTS, "--out", _REPORT),
            [digits / MANIFEST, _POINTS],
            [_REPORT / "index.html"],
        ),
    ]


def _network(network: Network, data: Path, weights: Path) -> list[Step]:
    """Return the steps of one network."""
    name = network.name
    images = data / FOLDERS[network.dataset]
    source = ("--dataset", network.dataset, "--data", data)
    given, trained = weights / network.weights, _BUILD / network.weights
    file = given if given.exists() or not network.trains else trained
    interrupted = trained.with_name(f"{trained.name}.checkpoint").exists()
    train = Step(
        f"{name}: training",
        _command("-m quant.train --model", name, *source, "--out", trained)
        + ["--resume"] * interrupted,
        [images],
        [trained],
    )
    bundle, zaps = _BUILD / name, _BUILD / f"{name}-zaps.pt"
    export = Step(
        f"{name}: bundle",
        _command("quant/export.py --model", name, "--weights", file, *source, network.export)
        + _command("--save-zaps", zaps, "--out", bundle),
        [images, file],
        [zaps, bundle / MANIFEST],
    )
    patterns = _RESULTS / f"{name}_patterns.json"
    sweep = Step(
        f"{name}: uniform masks and thresholds",
        _command("-m quant.evaluate", bundle, *source, "--pattern A B C D")
        + _command("--sigma 0.1 0.3 --json", patterns),
        [images, bundle / MANIFEST],
        [patterns],
    )

    compared = _BUILD / f"{name}-baselines.json"
    baselines = Step(
        f"{name}: value prediction and feature-map pruning",
        _command("-m quant.evaluate", bundle, *source, "--value-prediction 2 3")
        + _command("--prune-epsilon 0 8 --json", compared, "--results", _POINTS),
        [images, bundle / MANIFEST],
        [compared],
    )

    precision = _RESULTS / f"{name}_zap_precision.json"
    precisions = Step(
        f"{name}: ZAPs in float and in fewer bits",
        _command("-m quant.zap_precision", bundle, "--zaps", zaps, *source)
        + _command("--pattern B --sigma 0.1 0.2 0.3 --bits 8 4 --json", precision),
        [images, zaps, bundle / MANIFEST],
        [precision],
    )
    cost = _RESULTS / f"{name}_zap_training.json"
    costs = Step(
        f"{name}: cost of training the ZAPs",
        _command("-m bench.zap_training", bundle, *source, "--json", cost),
        [images, bundle / MANIFEST],
        [cost],
    )

    def choose(how: str, options: str) -> Step:
        out = _BUILD / f"{name}-{how}"
        return Step(
            f"{name}: operating points, {how}",
            _command("-m quant.choose", bundle, *source, options, network.held_out, "--recalibrate")
            + _command("--out", out, "--json", _POINTS),
            [images, bundle / MANIFEST],
            [out / MANIFEST],
        )

    return [
        *([train] if file == trained else []),
        export,
        sweep,
        baselines,
        precisions,
        costs,
        choose("points", f"{_BUDGETS} {network.budgets}"),
        choose("layer", f"{_BUDGETS} {network.budgets} --thresholds layer"),
        choose("uniform", f"{_BUDGETS} --thresholds uniform"),
        *(
            [choose("fine-tuned", f"{network.fine_tuning} {_FINE_TUNED}")]
            if network.fine_tuning
            else []
        ),
    ]


def _squeezenet(weights: Path) -> list[Step]:
    """Return the steps of SqueezeNet 1.0 with its ImageNet weights.

    ZAPs, statistics and losses are from 300 pictures, and accuracy is that of the other 700;
    one of those is simulated.
    """
    pictures, file = weights / "imagenet-1000", weights / "squeezenet1_0-imagenet.pth"
    images = _BUILD / "imagenet-300-700.npz"
    bundle, chosen = _BUILD / "squeezenet", _BUILD / "squeezenet-points"
    counted = _RESULTS / "squeezenet"
    return [
        Step(
            "squeezenet: images",
            _command("-m examples.networks.images --size 227 --apart --pictures", pictures)
            + _command("--out", images),
            [pictures],
            [images],
        ),
        Step(
            "squeezenet: bundle",
            _command("quant/export.py --model examples/networks/squeezenet.py:SqueezeNet --weights")
            + _command(file, "--dataset", images, "--classes 1000 --zap-epochs 2")
            + _command("--mean 123/255 117/255 104/255 --std 1/255 --out", bundle),
            [images, file],
            [bundle / MANIFEST],
        ),
        Step(
            "squeezenet: operating points",
            _command("-m quant.choose", bundle, "--dataset", images, "--max-drop 1 2 3")
            + _command("--out", chosen, "--json", _POINTS),
            [images, bundle / MANIFEST],
            [chosen / MANIFEST],
        ),
        Step(
            "squeezenet: one image on the core",
            _command("-m bench.speed --bundle", chosen, "--data", images, "--point max-drop-1")
            + _command("--config default --no-idle-lanes --out", counted),
            [chosen / MANIFEST],
            [counted / "summary.json"],
        ),
    ]


def _command(*parts: str | Path) -> list[str]:
    """Return a list of arguments; texts are split at blanks, paths are not."""
    arguments: list[str] = []
    for part in parts:
        arguments += part.split() if isinstance(part, str) else [str(part)]
    return arguments
