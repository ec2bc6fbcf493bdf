"""Amaranth layouts of tile descriptors, channel records and counters.

They are derived from the tables of `hw.contract`, in which fields and widths are written down.
"""

from __future__ import annotations

from collections.abc import Mapping

from amaranth.hdl import Shape, signed, unsigned
from amaranth.lib import data

from hw.contract.config import Config
from hw.contract.counters import COUNTER_BITS, ENGINE_COUNTERS
from hw.contract.program import Word, descriptor_words, engine_words
from hw.contract.records import (
    PREDICTOR_FIELDS,
    RECORD_BITS,
    RECORD_PARTS,
    REQUANTISER_FIELDS,
    RecordField,
)

__all__ = [
    "ChannelRecord",
    "CounterBlock",
    "LayerDescriptor",
    "PoolDescriptor",
    "PredictorRecord",
    "RequantiserRecord",
    "TileDescriptor",
    "word_shape",
]

_POOL = "pool."
"""Prefix of the words that describe a pooling."""


def word_shape(word: Word) -> Shape:
    """The narrowest shape that holds every value that a word may have."""
    return signed(word.bits) if word.signed else unsigned(word.bits)


class PoolDescriptor(data.StructLayout):
    """The pooling of an ofm as it leaves: the words of `engine_words` that begin with `pool.`."""

    def __init__(self, config: Config) -> None:
        super().__init__(
            {
                name.removeprefix(_POOL): word_shape(word)
                for name, word in engine_words(config).items()
                if name.startswith(_POOL)
            }
        )


class LayerDescriptor(data.StructLayout):
    """One convolution, or a strip of its rows, as the layer engine runs it.

    Its fields are the words of `hw.contract.program.engine_words`; those of the pooling are in
    `pool`.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(_with_pool(config, engine_words(config)))


class TileDescriptor(data.StructLayout):
    """All words of a tile, each as narrow as its limits allow; those of the pooling in `pool`."""

    def __init__(self, config: Config) -> None:
        super().__init__(_with_pool(config, descriptor_words(config)))


def _with_pool(config: Config, words: Mapping[str, Word]) -> dict[str, Shape | data.Layout]:
    """Shapes of words by their names, with one nested structure for those of the pooling."""
    shapes: dict[str, Shape | data.Layout] = {
        name: word_shape(word) for name, word in words.items() if not name.startswith(_POOL)
    }
    return {**shapes, "pool": PoolDescriptor(config)}


class PredictorRecord(data.StructLayout):
    """One channel's part of a ZAP: `hw.contract.records.PREDICTOR_FIELDS`."""

    def __init__(self) -> None:
        super().__init__(_record(PREDICTOR_FIELDS))


class RequantiserRecord(data.StructLayout):
    """One channel's way from sums to activations: `hw.contract.records.REQUANTISER_FIELDS`."""

    def __init__(self) -> None:
        super().__init__(_record(REQUANTISER_FIELDS))


class ChannelRecord(data.StructLayout):
    """The parameters that one output channel needs besides its weights."""

    def __init__(self) -> None:
        super().__init__({"requantiser": RequantiserRecord(), "predictor": PredictorRecord()})
        assert list(self.members) == list(RECORD_PARTS)
        assert self.size == RECORD_BITS


def _record(fields: Mapping[str, RecordField]) -> dict[str, Shape | data.Layout]:
    shapes: dict[str, Shape | data.Layout] = {}
    for name, field in fields.items():
        shape = signed(field.bits) if field.signed else unsigned(field.bits)
        shapes[name] = shape if field.count == 1 else data.ArrayLayout(shape, field.count)
    return shapes


class CounterBlock(data.StructLayout):
    """All performance counters of the layer engine."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(ENGINE_COUNTERS, COUNTER_BITS))
