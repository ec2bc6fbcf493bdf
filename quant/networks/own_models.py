"""Networks of the user: a module, a class or a function in a Python file or a package.

Naming one runs the code of its file.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from golden.errors import UserError
from golden.reading import check_readable
from quant.networks.model import Model, Recipe
from quant.networks.registry import MODELS

__all__ = ["OWN_RECIPE", "SIGMA", "build_own", "input_channels", "own_model", "safe_name"]

SIGMA = 0.1
"""The threshold of ZAPs in a network that has no default of its own."""
OWN_RECIPE = Recipe(
    epochs=30,
    batch=64,
    optimiser="adamw",
    learning_rate=1e-3,
    weight_decay=1e-2,
    shift=2,
    flip=False,
)
"""Trains networks with and without BN, on images that must not be mirrored too."""
_CLASSES = ("num_classes", "classes", "n_classes", "nb_classes", "num_labels")
"""Names of a parameter that takes the number of classes."""


def build_own(text: str, classes: int | None) -> nn.Module:
    """Return the network that `FILE.py:NAME` or `package.module:NAME` names, in eval mode.

    NAME is a module, or a class or a function that makes one. These are called with the number of
    classes if they have a parameter for it: one that is called `num_classes` or `classes`, or else
    the first one, if it must be given. Otherwise they are called without arguments.

    Parameters
    ----------
    text : str
    classes : int or None
        The number of classes, if it is known.

    Raises UserError if there is no such file or name, if its code raises an error, or if it gives
    no module.
    """
    source, colon, name = text.rpartition(":")
    if not colon or not source or not name.isidentifier():
        raise UserError(
            f"model {text!r}: neither FILE.py:NAME, nor package.module:NAME, nor FILE.onnx, nor "
            f"one of {', '.join(sorted(MODELS))}"
        )
    namespace = _import(text, source)
    if not hasattr(namespace, name):
        found = [key for key, value in vars(namespace).items() if _may_be_network(namespace, value)]
        has = ", ".join(sorted(found)) or "no module, class or function"
        raise UserError(f"{source}: has no {name}; it has {has}")
    thing = getattr(namespace, name)
    if not isinstance(thing, nn.Module):
        if not callable(thing):
            raise UserError(f"{text}: is no module, class or function")
        arguments = _arguments(text, thing, classes)
        with _user_errors(text):
            thing = thing(**arguments)
    if not isinstance(thing, nn.Module):
        raise UserError(f"{text}: gives a {type(thing).__name__}, not a torch.nn.Module")
    return thing.float().eval()


def own_model(
    module: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], sigma: float = SIGMA
) -> Model:
    """Return the description of a user's network, whose input is (pixel - mean) / std."""
    return Model(lambda classes: module, "", mean=mean, std=std, sigma=sigma, recipe=OWN_RECIPE)


def input_channels(module: nn.Module) -> int:
    """Return how many channels the images have that a network takes.

    That is what its first convolution takes; 3 if there is none.
    """
    convolutions = (part for part in module.modules() if isinstance(part, nn.Conv2d))
    return next((part.in_channels for part in convolutions), 3)


def safe_name(text: str) -> str:
    """Return the name of a model as it can stand in a path: `nets/mine.py:Net` -> `mine-Net`."""
    if text.endswith(".onnx"):
        text = Path(text).stem
    source, _, name = text.rpartition(":")
    if source.endswith(".py"):
        source = Path(source).stem
    stem = f"{source.rpartition('.')[2]}-{name}" if source else name
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).lstrip("-.") or "network"


def _import(text: str, source: str) -> ModuleType:
    """Run a file, or import a module of a package."""
    if source.endswith(".py"):
        file = Path(source)
        check_readable(file, "--model takes FILE.py:NAME")
        key = f"zapcore_model_{file.stem}"
        spec = importlib.util.spec_from_file_location(key, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[key] = module  # dataclasses and pickles look for it there
        with _user_errors(text), _importable(file.parent):
            spec.loader.exec_module(module)
        return module
    with _user_errors(text), _importable(Path.cwd()):
        try:
            return importlib.import_module(source)
        except ModuleNotFoundError as error:
            missing = str(error.name)
            if source == missing or source.startswith(f"{missing}."):
                raise UserError(f"{source}: there is no such module; is it installed?") from None
            raise


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let imports find the modules of a folder too, as they do for a script in it."""
    entry = str(folder.resolve())
    sys.path.append(entry)
    try:
        yield
    finally:
        sys.path.remove(entry)


@contextmanager
def _user_errors(text: str) -> Iterator[None]:
    """Turn any error of the user's code into a UserError of one line."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = f": {lines[0]}" if lines else ""
        raise UserError(f"{text}: its code raises {type(error).__name__}{reason}") from None


def _may_be_network(namespace: ModuleType, value: Any) -> bool:
    """Tell whether a value is of the file itself and could be meant by --model."""
    if isinstance(value, nn.Module):
        return True
    of_file = getattr(value, "__module__", None) == namespace.__name__
    is_network = inspect.isclass(value) and issubclass(value, nn.Module)
    return of_file and (is_network or inspect.isfunction(value))


def _arguments(text: str, make: Callable[..., Any], classes: int | None) -> dict[str, int]:
    """Return the arguments that make a network."""
    try:
        parameters = inspect.signature(make).parameters
    except (TypeError, ValueError):  # a callable of C has no signature
        return {}
    required = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    named = [name for name in _CLASSES if name in parameters]
    taker = next(iter([*named, *required[:1]]), None)
    others = [name for name in required if name != taker]
    if others:
        raise UserError(
            f"{text}: needs {', '.join(others)}; name a function without such parameters that "
            "calls it"
        )
    if taker is None or (classes is None and taker not in required):
        return {}
    if classes is None:
        raise UserError(
            f"{text}: takes a number of classes, and the images have no labels that tell it; give "
            "--classes N"
        )
    return {taker: classes}
