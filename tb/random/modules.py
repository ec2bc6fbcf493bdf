"""Random PyTorch networks, written as people write them.

A network is a few layers of any kinds of `tb.random.module_layers`, with branches, and a
classifier. The seed is its number: it gives the same text on every machine.
"""

from __future__ import annotations

import random

from tb.random.module_layers import LAYERS, LayerKind, classifier, on_host
from tb.random.written_module import WrittenModule

__all__ = ["random_module"]

_TRIES = 40
_DEAD = 1e-4
_WILD = 50.0
"""Standard deviations of a tensor that is as good as constant, and of one that is too large."""


def random_module(seed: int, layers: int | None = None) -> WrittenModule:
    """Write network number `seed`; of its layers only the first few, if `layers` says so."""
    rng = random.Random(seed)
    channels = rng.choice((1, 3, 3, 3, 4))
    size = rng.randint(6, 13)
    shape = channels, size, size if rng.random() < 0.5 else rng.randint(5, 14)
    count = rng.randint(2, 12)
    written = WrittenModule(shape, seed)
    for number in range(count if layers is None else min(layers, count)):
        _add_layer(written, f"{seed}: {number}")
    _add_layer(written, f"{seed}: end", [LayerKind("classifier", classifier, "", 1)])
    written.rng = random.Random(f"{seed}: host")
    if written.rng.random() < 0.25:
        on_host(written)
    others = [value for value in written.values if not written.is_images(value)]
    if written.rng.random() < 0.15:
        written.returned += f", {written.rng.choice(others).name}"
    return written


def _add_layer(written: WrittenModule, seed: str, kinds: list[LayerKind] = LAYERS) -> None:
    """Write one layer that works, and leaves numbers that are neither all alike nor huge."""
    written.rng = rng = random.Random(seed)
    weights = [kind.weight for kind in kinds]
    may_die = rng.random() < 0.03
    for _ in range(_TRIES):
        mark = written.mark()
        (kind,) = rng.choices(kinds, weights)
        if not written.maps(images=False) and kind.name not in _FIRST and rng.random() < 0.9:
            continue
        try:
            kind.write(written)
            spread = written.spread(written.current)
            if may_die or _DEAD < spread < _WILD:
                return
        except (ValueError, RuntimeError, IndexError, AttributeError):
            pass  # PyTorch refuses the line: draw another
        written.undo(mark)


_FIRST = ("convolution", "padding", "arithmetic", "classifier")
"""The kinds that most networks begin with."""
