"""Block bench of the MAC array: checks its sums against exact dot products, and its rate.

The bench plays the two buffers: words arrive BUFFER_READ_LATENCY cycles after their addresses.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge

from golden import arithmetic
from hw.contract.config import Config
from hw.contract.timing import BUFFER_READ_LATENCY, array_latency
from hw.engine.mac_array import TASKS_IN_FLIGHT
from hw.layouts.descriptor import LayerDescriptor
from hw.layouts.pixels import Result, Tag, Task
from hw.lib.structs import struct_bits, struct_from_bits
from tb.benches.block_common import BlockSettings, collect, now, require_equal, uneven_pauses
from tb.benches.common import start
from tb.benches.streams import StreamSink, StreamSource


@dataclass(frozen=True)
class Kernel:
    """The addresses of the words of one dot product, as a layer's descriptor gives them."""

    config: Config = field(repr=False)
    inner_count: int
    inner_step: int
    outer_count: int
    outer_step: int
    signed: bool

    @classmethod
    def draw(cls, config: Config, rng: random.Random) -> Kernel:
        """Draw a kernel of one word up to a whole weight buffer, with steps in either direction."""
        words = rng.choice([1, rng.randint(1, 6), rng.randint(1, 40), config.weight_words])
        inner = rng.choice([n for n in range(1, words + 1) if words % n == 0])
        steps = [rng.choice([1, rng.randrange(config.ifm_words)]) for _ in range(2)]
        return cls(config, inner, steps[0], words // inner, steps[1], rng.random() < 0.5)

    @property
    def words(self) -> int:
        return self.inner_count * self.outer_count

    @property
    def descriptor(self) -> int:
        fields = {
            "inner_count": self.inner_count,
            "inner_step": self.inner_step,
            "outer_count": self.outer_count,
            "outer_step": self.outer_step,
            "kernel_words": self.words,
            "ifm_signed": int(self.signed),
        }
        return struct_bits(LayerDescriptor(self.config), fields)

    @property
    def offsets(self) -> np.ndarray:
        """The offset of each word from the pixel's base."""
        steps = np.full(self.words - 1, self.inner_step)
        steps[self.inner_count - 1 :: self.inner_count] = self.outer_step
        return np.concatenate([[0], np.cumsum(steps)])


@dataclass(frozen=True)
class Memories:
    """The contents of both buffers: bytes (words, V); the weights' are signed."""

    ifm: np.ndarray
    weights: np.ndarray

    @classmethod
    def draw(cls, config: Config, rng: random.Random) -> Memories:
        """Draw random bytes, or the one byte everywhere whose products are largest."""
        draw = np.random.default_rng(rng.getrandbits(32))
        ifm = draw.integers(0, 256, (config.ifm_words, config.lanes))
        weights = draw.integers(-128, 128, (config.weight_words, config.lanes))
        if rng.random() < 0.4:
            ifm = np.full_like(ifm, rng.choice([255, 128, 127]))
            weights = np.full_like(weights, rng.choice(arithmetic.S8))
        return cls(ifm, weights)

    def dot(self, kernel: Kernel, base: int, weight_base: int) -> int:
        """Return the exact dot product of one pixel."""
        ifm = self.ifm[(base + kernel.offsets) % len(self.ifm)]
        if kernel.signed:
            ifm = np.where(ifm > 127, ifm - 256, ifm)
        weights = self.weights[(weight_base + np.arange(kernel.words)) % len(self.weights)]
        return int((ifm * weights).sum())

    @property
    def words(self) -> tuple[list[int], list[int]]:
        """Both buffers' words as numbers, channel 0 in the lowest byte."""
        ifm, weights = (
            [int.from_bytes(word.tobytes(), "little") for word in memory.astype(np.uint8)]
            for memory in (self.ifm, self.weights)
        )
        return ifm, weights


def draw_task(config: Config, rng: random.Random, *, pixels: int) -> dict[str, Any]:
    """Draw a task of that many pixels anywhere; its other places hold anything."""
    return {
        "pixels": [
            {"index": rng.randrange(config.ofm_words), "base": rng.randrange(config.ifm_words)}
            for _ in range(config.pes)
        ],
        "mask": (1 << pixels) - 1,
        "weight_base": rng.randrange(config.weight_words),
        "tag": {
            "channel": rng.getrandbits(Tag(config)["channel"].width),
            "survivor": rng.getrandbits(1),
        },
    }


def expected_results(memories: Memories, kernel: Kernel, task: dict[str, Any]) -> list[Any]:
    """Return (sum, index, channel, survivor, last) of each pixel."""
    pixels = task["pixels"][: task["mask"].bit_length()]
    return [
        (
            memories.dot(kernel, pixel["base"], task["weight_base"]),
            pixel["index"],
            task["tag"]["channel"],
            task["tag"]["survivor"],
            int(place == len(pixels) - 1),
        )
        for place, pixel in enumerate(pixels)
    ]


class TB:
    """Plays the array's buffers and its two streams, and notes the cycles in which it works."""

    def __init__(self, dut: Any, settings: BlockSettings, *, pauses: bool) -> None:
        def pause(number: int) -> Iterator[bool] | None:
            return uneven_pauses(settings.seed + number) if pauses else None

        self.dut = dut
        self.config = settings.config
        self.tasks = StreamSource(dut, "tasks", pause=pause(0))
        self.results = StreamSink(dut, "results", pause=pause(1))
        self.memories = ([0] * self.config.ifm_words, [0] * self.config.weight_words)
        self.busy: list[int] = []
        self.handed_out: list[int] = []

    async def start(self) -> None:
        self.dut.layer.value = 0
        self.dut.weight_data.value = 0
        for place in range(self.config.pes):
            getattr(self.dut, f"ifm_data__{place}").value = 0
        await start(self.dut)
        cocotb.start_soon(self._serve())

    async def run(self, memories: Memories, kernel: Kernel, tasks: list[dict[str, Any]]) -> None:
        """Run tasks of one layer and compare their results."""
        self.memories = memories.words
        self.dut.layer.value = kernel.descriptor
        await ClockCycles(self.dut.clk, 2)
        self.busy, self.handed_out = [], []
        layout = Task(self.config)
        self.tasks.send(struct_bits(layout, task) for task in tasks)
        for number, task in enumerate(tasks):
            expected = expected_results(memories, kernel, task)
            received = [
                struct_from_bits(Result(self.config), payload)
                for payload in await collect(self.results, len(expected))
            ]
            require_equal(
                f"{kernel}, task {number}",
                [(r.sum, r.index, r.tag.channel, r.tag.survivor, r.last) for r in received],
                expected,
            )

    async def _serve(self) -> None:
        """Answer the array's reads for ever."""
        dut, edge = self.dut, RisingEdge(self.dut.clk)
        reads = [(dut.weight_address, dut.weight_data, 1)]
        for place in range(self.config.pes):
            ports = (getattr(dut, f"ifm_{what}__{place}") for what in ("address", "data"))
            reads.append((*ports, 0))
        under_way = [deque([0] * (BUFFER_READ_LATENCY - 1)) for _ in reads]
        while True:
            await edge
            for (address, data, memory), words in zip(reads, under_way):
                words.append(self.memories[memory][int(address.value)])
                data.value = words.popleft()
            if dut.busy.value == 1:
                self.busy.append(now())
            if dut.results__valid.value == 1 and dut.results__ready.value == 1:
                self.handed_out.append(now())


@cocotb.test()
async def sums_are_exact(dut: Any) -> None:
    """Every dot product of full and partial tasks is exact and in order, whatever pauses."""
    settings = BlockSettings.read()
    rng = random.Random(settings.seed)
    tb = TB(dut, settings, pauses=True)
    await tb.start()
    for _ in range(settings.count):
        memories, kernel = Memories.draw(settings.config, rng), Kernel.draw(settings.config, rng)
        count = 3 if kernel.words > 40 else 2 * TASKS_IN_FLIGHT
        sizes = [rng.randint(1, settings.config.pes) for _ in range(count)]
        await tb.run(memories, kernel, [draw_task(settings.config, rng, pixels=n) for n in sizes])


@cocotb.test()
async def keeps_its_rate(dut: Any) -> None:
    """Without pauses a task takes `kernel_words` cycles, or one a pixel if there are more pixels.

    Its first result follows its last word by `hw.contract.timing.array_latency`.
    """
    settings = BlockSettings.read()
    config = settings.config
    rng = random.Random(settings.seed + 1)
    tb = TB(dut, settings, pauses=False)
    await tb.start()
    for words in [*range(1, 2 * config.pes + 2), 25]:
        kernel = Kernel(config, words, 1, 1, 0, False)
        tasks = [draw_task(config, rng, pixels=config.pes) for _ in range(3 * TASKS_IN_FLIGHT)]
        await tb.run(Memories.draw(config, rng), kernel, tasks)
        begun = tb.busy[0]
        assert len(tb.busy) == words * len(tasks), f"{words} words: busy {len(tb.busy)} cycles"
        if words >= config.pes:
            assert tb.busy[-1] - begun + 1 == len(tb.busy), f"{words} words: a gap between tasks"
        first = tb.handed_out[:: config.pes]
        apart = max(words, config.pes)
        expected = [
            begun + words - 1 + array_latency(config) + apart * n for n in range(len(tasks))
        ]
        require_equal(f"{words} words, cycle of a task's first result", first, expected)
