"""The cocotb bench of tests/tb/test_simulator.py."""

import random
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from tb.benches.common import start, values
from tb.benches.streams import StreamSink, StreamSource, random_pause


@cocotb.test()
async def keeps_order(dut: Any) -> None:
    """Every payload arrives once and in order, whichever side pauses."""
    settings = values()
    rng = random.Random(settings["seed"])
    width = len(dut.i__payload)
    sent = [rng.getrandbits(width) for _ in range(settings["beats"])]
    pause_in, pause_out = settings["pause_in"], settings["pause_out"]
    longest = settings["longest"]
    source = StreamSource(
        dut, "i", pause=random_pause(pause_in, 1, longest=longest) if pause_in else None
    )
    sink = StreamSink(
        dut, "o", pause=random_pause(pause_out, 2, longest=longest) if pause_out else None
    )
    await start(dut)
    source.send(sent)
    assert await sink.take(len(sent)) == sent
    await source.drained()
    assert source.accepted == len(sent)
    await RisingEdge(dut.clk)
    assert int(dut.beats.value) == len(sent)
    # The stream works again after both ends slept for a while.
    await ClockCycles(dut.clk, 50)
    source.send(sent[:5])
    source.send(sent[5:9])
    assert await sink.take(9) == sent[:9]
    await source.drained()
    assert sink.received == []


@cocotb.test()
async def one_beat_a_cycle(dut: Any) -> None:
    """Without pauses one beat is transferred in every cycle."""
    source, sink = StreamSource(dut, "i"), StreamSink(dut, "o")
    await start(dut)
    source.send(range(1000))
    await sink.take(10)
    before = cocotb.utils.get_sim_time("ns")
    await sink.take(900)
    assert (cocotb.utils.get_sim_time("ns") - before) / 10 == 900
    await sink.take(90)


@cocotb.test(skip=not values().get("probe"))
async def reads_probe(dut: Any) -> None:
    """The bench can read a signal that is no port of the top module."""
    await start(dut)
    assert int(dut.level.value) == 0


@cocotb.test(skip=not values().get("fail"))
async def fails(dut: Any) -> None:
    """Fails on purpose."""
    await start(dut)
    assert int(dut.beats.value) == 12345, "beats are not 12345"
