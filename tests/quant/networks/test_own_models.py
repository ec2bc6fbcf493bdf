"""The user's networks are found in files and packages; what is wrong with one is said in a line."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from golden.errors import UserError
from quant.networks.own_models import build_own, input_channels, safe_name

CODE = """
import torch
from torch import nn
from neighbour_of_nets import WIDTH

net = nn.Sequential(nn.Conv2d(2, WIDTH, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).half()
number = 3

class Counted(nn.Module):
    def __init__(self, width=8, num_classes=10):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3)
        self.fc = nn.Linear(width, num_classes)

def first(n):
    return Counted(4, n)

def none(width=5):
    return Counted(width)

def raises():
    raise ValueError("two is\\nnot enough")

def leaves():
    raise SystemExit(3)

def gives_none():
    return None

def needs_two(n, depth):
    return Counted(n)

class Plain:
    pass
"""


@pytest.fixture
def nets(tmp_path: Path) -> str:
    (tmp_path / "neighbour_of_nets.py").write_text("WIDTH = 6\n")
    (tmp_path / "my-nets.py").write_text(CODE)
    return str(tmp_path / "my-nets.py")


def test_a_module_is_taken_as_it_is(nets: str) -> None:
    module = build_own(f"{nets}:net", 10)
    assert not module.training
    assert input_channels(module) == 2
    assert next(module.parameters()).dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "classes", "width", "outputs"),
    [
        ("Counted", 7, 8, 7),
        ("Counted", None, 8, 10),
        ("first", 7, 4, 7),
        ("none", 7, 5, 10),
    ],
)
def test_classes_and_functions_are_called_with_the_number_of_classes(
    name: str, classes: int | None, width: int, outputs: int, nets: str
) -> None:
    module = build_own(f"{nets}:{name}", classes)
    assert isinstance(module.conv, nn.Conv2d)
    assert isinstance(module.fc, nn.Linear)
    assert (module.conv.out_channels, module.fc.out_features) == (width, outputs)


def test_a_package_of_the_working_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_package_of_nets").mkdir()
    code = "from torch import nn\nclass Net(nn.Linear):\n    def __init__(self, classes):\n"
    code += "        super().__init__(2, classes)\n"
    (tmp_path / "a_package_of_nets" / "small.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    module = build_own("a_package_of_nets.small:Net", 4)
    assert isinstance(module, nn.Linear)
    assert module.out_features == 4
    assert not [entry for entry in sys.path if entry == str(tmp_path)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Gone", "my-nets.py: has no Gone; it has Counted, first, gives_none"),
        ("number", ":number: is no module, class or function"),
        ("raises", ":raises: its code raises ValueError: two is"),
        ("leaves", ":leaves: its code raises SystemExit: 3"),
        ("gives_none", ":gives_none: gives a NoneType, not a torch.nn.Module"),
        ("Plain", ":Plain: gives a Plain, not a torch.nn.Module"),
        ("needs_two", ":needs_two: needs depth; name a function without such parameters"),
        ("a b", "neither FILE.py:NAME, nor package.module:NAME, nor FILE.onnx, nor one of"),
    ],
)
def test_what_is_no_network_is_refused(name: str, message: str, nets: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        build_own(f"{nets}:{name}", 10)


def test_a_number_of_classes_that_is_not_known_is_asked_for(nets: str) -> None:
    with pytest.raises(UserError, match=r"first: takes a number of classes.*give --classes N"):
        build_own(f"{nets}:first", None)


def test_files_and_packages_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    for text, message in (
        (f"{tmp_path}/gone.py:Net", "gone.py: not found; --model takes FILE.py:NAME"),
        ("no_such_package.nets:Net", "no_such_package.nets: there is no such module"),
        ("resnet21", "model 'resnet21': neither FILE.py:NAME"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            build_own(text, 10)
    for code, message in (
        ("class Net(", "its code raises SyntaxError"),
        ("import no_such_module", "its code raises ModuleNotFoundError: No module named"),
    ):
        file.write_text(code)
        with pytest.raises(UserError, match=re.escape(message)):
            build_own(f"{file}:Net", 10)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("digits", "digits"),
        ("resnet18-cifar", "resnet18-cifar"),
        ("/some where/my nets.py:Net", "my-nets-Net"),
        ("torchvision.models:resnet18", "models-resnet18"),
        ("../.hidden.py:Net", "hidden-Net"),
        ("nets/small.onnx", "small"),
    ],
)
def test_names_of_models_are_safe_in_paths(text: str, name: str) -> None:
    assert safe_name(text) == name
