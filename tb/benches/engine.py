"""cocotb bench of the layer engine: plays its host and runs layers one after another.

Values: `stimuli` and `outcomes` (files of `tb.exchange.engine_files`), `progress` (a file that
grows by one byte a layer), `seed`.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge, with_timeout

from tb.benches.common import PERIOD, start, values
from tb.benches.streams import StreamSink, StreamSource
from tb.exchange.engine_files import Outcome, Stimulus, read_stimuli, write_outcomes


class Pauses:
    """Endless random pauses whose share can be changed at any time."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.share = 0.0

    def __iter__(self) -> Iterator[bool]:
        return self

    def __next__(self) -> bool:
        return self._random.random() < self.share


def to_words(rows: np.ndarray) -> list[int]:
    """Pack uint8 (words, bytes) into one number for each word, the first byte lowest."""
    return [int.from_bytes(row.tobytes(), "little") for row in rows]


class Host:
    """Drives one engine through its ports."""

    def __init__(self, dut: Any, seed: int) -> None:
        self.dut = dut
        self.load_pauses = Pauses(seed)
        self.ofm_pauses = Pauses(seed + 1)
        dut.start.value = 0
        dut.slice_loaded.value = 0
        dut.descriptor.value = 0
        self.ifm = StreamSource(dut, "ifm")
        self.records = StreamSource(dut, "records", pause=self.load_pauses)
        self.residuals = StreamSource(dut, "residuals", pause=self.load_pauses)
        self.halo = StreamSource(dut, "halo")  # gets nothing: a layer is a whole map
        self.ofm = StreamSink(dut, "ofm", pause=self.ofm_pauses)

    async def idle(self) -> None:
        """Wait until the engine can take a layer."""
        if self.dut.busy.value:
            await FallingEdge(self.dut.busy)

    async def run(self, stimulus: Stimulus, group: int) -> Outcome:
        """Run one layer; fail if the engine moves more or fewer words than it should."""
        self.load_pauses.share, self.ofm_pauses.share = stimulus.pauses
        sliced = len(stimulus.ifm) > 1
        if not sliced:
            await self._fill(stimulus.ifm[0], 0)
        sources = ((self.records, stimulus.records), (self.residuals, stimulus.residuals))
        expected = [source.accepted + len(rows) for source, rows in sources]
        for source, rows in sources:
            source.send(to_words(rows))
        self.dut.descriptor.value = stimulus.descriptor
        self.dut.start.value = 1
        await RisingEdge(self.dut.clk)
        self.dut.start.value = 0
        if sliced:
            slices = cocotb.start_soon(self._fill_slices(stimulus))
        await RisingEdge(self.dut.busy)
        limit = 1_000_000 + 2_000 * (len(stimulus.records) + stimulus.ofm_words)
        await with_timeout(FallingEdge(self.dut.busy), limit * PERIOD, "ns")
        if sliced:
            assert slices.done(), "slices of the ifm were left over"
        accepted = [source.accepted for source, _ in sources]
        assert accepted == expected, "records or residuals were left over"
        assert len(self.ofm.received) == stimulus.ofm_words, "the wrong number of ofm words left"
        ofm = b"".join(
            word.to_bytes(group, "little") for word in await self.ofm.take(stimulus.ofm_words)
        )
        return Outcome(
            np.frombuffer(ofm, np.uint8).reshape(-1, group), int(self.dut.counters.value)
        )

    async def _fill(self, words: np.ndarray, first: int) -> None:
        """Write words into the ifm buffer from address `first` on, around its end."""
        lanes = words.shape[1]
        address_bits = len(self.dut.ifm__payload) - 9 * lanes
        whole = (
            1 << lanes
        ) - 1 << 8 * lanes  # all bytes of a word: see hw.engine.buffers.MaskedWrite
        self.ifm.send(
            (address & (1 << address_bits) - 1) | (word | whole) << address_bits
            for address, word in enumerate(to_words(words), first)
        )
        await self.ifm.drained()

    async def _fill_slices(self, stimulus: Stimulus) -> None:
        """Write one slice after another, each as soon as there is room for it."""
        retired = 0
        for number, words in enumerate(stimulus.ifm):
            while number - retired >= stimulus.slots:
                await RisingEdge(self.dut.clk)
                retired += int(self.dut.slice_retired.value)
            filled = cocotb.start_soon(self._fill(words, number * len(words)))
            while not (filled.done() and self.dut.ifm__ready.value):
                await RisingEdge(self.dut.clk)
                retired += int(self.dut.slice_retired.value)
            self.dut.slice_loaded.value = 1
            await RisingEdge(self.dut.clk)
            retired += int(self.dut.slice_retired.value)
            self.dut.slice_loaded.value = 0


@cocotb.test()
async def run_layers(dut: Any) -> None:
    """Run every layer and write its outcome."""
    settings = values()
    host = Host(dut, settings["seed"])
    await start(dut)
    await host.idle()
    outcomes = []
    with Path(settings["progress"]).open("wb", buffering=0) as progress:
        for stimulus in read_stimuli(Path(settings["stimuli"])):
            outcomes.append(await host.run(stimulus, len(dut.ofm__payload) // 8))
            progress.write(b".")
    write_outcomes(Path(settings["outcomes"]), outcomes)
