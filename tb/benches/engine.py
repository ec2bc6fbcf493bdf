"""cocotb bench of the layer engine: plays host for a list of jobs.

Values: `jobs` and `outcomes` (files of `tb.runs.engine_files`), `progress` (a file that grows by
one byte a job), `seed`.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge, with_timeout

from tb.benches.setup import PERIOD, start, values
from tb.benches.streams import StreamSink, StreamSource
from tb.runs.engine_files import Job, Outcome, read_jobs, write_outcomes


class Pauses:
    """Endless random pauses whose share can be changed on the way."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.share = 0.0

    def __iter__(self) -> Iterator[bool]:
        return self

    def __next__(self) -> bool:
        return self._random.random() < self.share


def to_words(rows: np.ndarray) -> list[int]:
    """uint8 (words, bytes) as numbers, the first byte lowest."""
    return [int.from_bytes(row.tobytes(), "little") for row in rows]


class Host:
    """Drives one engine through its ports."""

    def __init__(self, dut: Any, seed: int) -> None:
        self.dut = dut
        self.load_pauses = Pauses(seed)
        self.ofm_pauses = Pauses(seed + 1)
        dut.start.value = 0
        dut.descriptor.value = 0
        self.ifm = StreamSource(dut, "ifm")
        self.records = StreamSource(dut, "records", pause=self.load_pauses)
        self.residuals = StreamSource(dut, "residuals", pause=self.load_pauses)
        self.halo = StreamSource(dut, "halo")  # none: a job is a whole map
        self.ofm = StreamSink(dut, "ofm", pause=self.ofm_pauses)

    async def idle(self) -> None:
        """Wait until the engine takes a layer."""
        if self.dut.busy.value:
            await FallingEdge(self.dut.busy)

    async def run(self, job: Job, group: int) -> Outcome:
        """Run one layer; fails if the engine moves another number of words than it should."""
        self.load_pauses.share, self.ofm_pauses.share = job.pauses
        lanes = job.ifm.shape[1]
        address_bits = len(self.dut.ifm__payload) - 9 * lanes
        whole = (
            1 << lanes
        ) - 1 << 8 * lanes  # all bytes of a word: see hw.engine.buffers.MaskedWrite
        words = enumerate(to_words(job.ifm))
        self.ifm.send(address | (word | whole) << address_bits for address, word in words)
        await self.ifm.drained()
        sources = ((self.records, job.records), (self.residuals, job.residuals))
        expected = [source.accepted + len(rows) for source, rows in sources]
        for source, rows in sources:
            source.send(to_words(rows))
        self.dut.descriptor.value = job.descriptor
        self.dut.start.value = 1
        await RisingEdge(self.dut.clk)
        self.dut.start.value = 0
        await RisingEdge(self.dut.busy)
        limit = 1_000_000 + 2_000 * (len(job.records) + job.ofm_words)
        await with_timeout(FallingEdge(self.dut.busy), limit * PERIOD, "ns")
        accepted = [source.accepted for source, _ in sources]
        assert accepted == expected, "records or residuals were left over"
        assert len(self.ofm.received) == job.ofm_words, "another number of ofm words left"
        ofm = b"".join(
            word.to_bytes(group, "little") for word in await self.ofm.take(job.ofm_words)
        )
        return Outcome(
            np.frombuffer(ofm, np.uint8).reshape(-1, group), int(self.dut.counters.value)
        )


@cocotb.test()
async def run_jobs(dut: Any) -> None:
    """Run every job and write its outcome."""
    orders = values()
    host = Host(dut, orders["seed"])
    await start(dut)
    await host.idle()
    outcomes = []
    with Path(orders["progress"]).open("wb", buffering=0) as progress:
        for job in read_jobs(Path(orders["jobs"])):
            outcomes.append(await host.run(job, len(dut.ofm__payload) // 8))
            progress.write(b".")
    write_outcomes(Path(orders["outcomes"]), outcomes)
