"""The networks of other people that `bench.bring_through` takes, as a user brings one along.

None is in `quant.networks.registry`. Each is one command: a file or an ONNX model, weights if there
are any, and images.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from golden.errors import UserError

__all__ = ["NETWORKS", "Brought", "Images"]

_FILES = "examples/networks"
_TINY, _VISION = f"{_FILES}/mlperf_tiny.py", f"{_FILES}/torchvision_networks.py"
_TORCHVISION = "--mean 0.485 0.456 0.406 --std 0.229 0.224 0.225"
_LITTLE = "--zap-epochs 1 --zap-images 8"
"""For networks whose weights are random: their predictors are fitted, and say nothing."""


@dataclass(frozen=True)
class Images:
    """Images that `examples.networks.images` writes: the file, and the options that make it."""

    file: str
    options: str

    def command(self, weights: Path) -> list[str]:
        """The command that writes the file, as arguments to Python."""
        options = [word.format(weights=weights) for word in self.options.split()]
        return ["-m", "examples.networks.images", *options, "--out", self.file]


MAPS = Images("build/maps-49x10.npz", "--size 49x10 --channels 1")
TEXTURES_64 = Images("build/textures-64.npz", "--size 64")
TEXTURES_96 = Images("build/textures-96.npz", "--size 96")
TEXTURES_224 = Images("build/textures-224.npz", "--size 224 --n 10")
PICTURES = Images("build/imagenet-1000.npz", "--size 227 --pictures {weights}/imagenet-1000")
SMALL_PICTURES = Images(
    "build/imagenet-1000-96.npz", "--size 96 --pictures {weights}/imagenet-1000 --n 400"
)


@dataclass(frozen=True, kw_only=True)
class Brought:
    """A network.

    Parameters
    ----------
    model : str
        The value of --model. `{light}` stands for the folder of the onnx package's models.
    source : str
        Where it comes from, for the table.
    images : Images or str
        Images that are made for it, or options that name a dataset; `{data}` is the folder of
        datasets.
    options : str
        Other options of `quant/export.py`.
    weights : str
        A file in the folder of weights; none if the weights are random.
    config : str
        The core that one image is simulated on, without ZAP and with it; none if it is not.
    """

    model: str
    source: str
    images: Images | str
    options: str
    weights: str = ""
    config: str = ""

    def export(self, out: Path, data: Path, weights: Path, light: str = "") -> list[str]:
        """The command that makes its bundle, as arguments to Python.

        `light` is the folder of the onnx package's models; by default, it is looked for.
        """
        if "{light}" in self.model:
            light = light or str(_light())
        model = self.model.format(light=light)
        images = self.images
        named = f"--dataset {images.file}" if isinstance(images, Images) else images
        words = f"{named} {self.options}".split()
        given = ["--weights", str(weights / self.weights)] if self.weights else []
        filled = [word.format(data=data) for word in words]
        return ["quant/export.py", "--model", model, *given, *filled, "--out", str(out)]


def _light() -> Path:
    """The folder of the models that the onnx package tests its backends with."""
    found = find_spec("onnx")
    if found is None or found.origin is None:
        raise UserError("the package onnx is not installed: pip install zapcore[onnx]")
    return Path(found.origin).parent / "backend/test/data/light"


def _tiny(name: str, images: Images | str, options: str, weights: str = "") -> Brought:
    return Brought(
        model=f"{_TINY}:{name}", source="MLPerf Tiny", images=images, options=options,
        weights=weights, config="small",
    )  # fmt: skip


def _vision(name: str, images: Images = TEXTURES_64, config: str = "") -> Brought:
    return Brought(
        model=f"{_VISION}:{name}", source="torchvision", images=images,
        options=f"--classes 1000 {_TORCHVISION} {_LITTLE}", config=config,
    )  # fmt: skip


def _onnx(name: str) -> Brought:
    return Brought(
        model=f"{{light}}/light_{name}.onnx", source="onnx package", images=TEXTURES_224,
        options=_LITTLE,
    )  # fmt: skip


_SQUEEZENET = "--classes 1000 --mean 123/255 117/255 104/255 --std 1/255"

NETWORKS = {
    "resnet8": _tiny(
        "ResNet8", "--dataset cifar10 --data {data}",
        "--std 1/255 --zap-epochs 2 --zap-images 1000 --sigma -0.5",
        "resnet8-mlperf-tiny.pth",
    ),
    "mobilenet-v1": _tiny(
        "MobileNetV1", TEXTURES_96, f"--classes 2 --mean 0.5 --std 0.5 {_LITTLE}"
    ),
    "ds-cnn": _tiny("DSCNN", MAPS, f"--classes 12 --mean 0.5 --std 0.25 {_LITTLE}"),
    "squeezenet": Brought(
        model=f"{_FILES}/squeezenet.py:SqueezeNet", source="Iandola et al.", images=PICTURES,
        options=f"{_SQUEEZENET} --zap-epochs 1 --zap-images 60 --sigma -0.5 --test-images 200",
        weights="squeezenet1_0-imagenet.pth",
    ),
    "squeezenet-96": Brought(
        model=f"{_FILES}/squeezenet.py:SqueezeNet", source="Iandola et al.", images=SMALL_PICTURES,
        options=f"{_SQUEEZENET} --zap-epochs 2 --sigma -0.5 --test-images 200",
        weights="squeezenet1_0-imagenet.pth",
        config="default",
    ),
    "mobilenet-v2": _vision("mobilenet_v2", TEXTURES_96, "default"),
    "u-net": Brought(
        model=f"{_FILES}/unet.py:UNet", source="Ronneberger et al.", images=TEXTURES_64,
        options=f"--classes 2 --mean 0.5 --std 0.25 {_LITTLE}", config="default",
    ),
    "resnet50": _vision("resnet50"),
    "resnext50": _vision("resnext50"),
    "regnet-x-400mf": _vision("regnet_x_400mf"),
    "shufflenet-v2": _vision("shufflenet_v2"),
    "googlenet": _vision("googlenet"),
    "densenet121": _vision("densenet121"),
    "onnx-squeezenet": _onnx("squeezenet"),
    "onnx-shufflenet": _onnx("shufflenet"),
    "onnx-resnet50": _onnx("resnet50"),
    "onnx-inception-v2": _onnx("inception_v2"),
    "onnx-densenet121": _onnx("densenet121"),
    "onnx-vgg19": _onnx("vgg19"),
}  # fmt: skip
"""Name on the command line -> network, those that are simulated first."""
