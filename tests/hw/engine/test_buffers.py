"""Ifm buffer and weight ring give their words in time, and ofm banks leave zeros behind."""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hw.contract.timing import BUFFER_READ_LATENCY
from hw.engine.buffers import IfmBuffer, WeightBuffer
from hw.engine.ofm_banks import OfmBanks
from tests.hw.amaranth_testbench import Resettable, get, pauses, simulate, to_words
from tests.hw.small_configs import TINY


async def fill(context: Any, writes: Any, words: list[int], **rest: int) -> None:
    for address, word in enumerate(words):
        context.set(writes.payload, {"address": address, "word": word, **rest})
        context.set(writes.valid, 1)
        await context.tick()
    context.set(writes.valid, 0)


@pytest.mark.parametrize("pes", [1, 2, 4, 8])
def test_every_pe_reads_its_own_ifm_word_every_cycle(pes: int) -> None:
    rng = random.Random(pes)
    config = replace(TINY, pes=pes)
    words = [rng.getrandbits(8 * config.lanes) for _ in range(config.ifm_words)]
    dut = IfmBuffer(config)

    async def check(context: Any) -> None:
        await fill(context, dut.writes, words, mask=(1 << config.lanes) - 1)
        context.set(dut.reading, 1)
        asked: list[list[int]] = []
        for cycle in range(200):
            asked.append([rng.randrange(config.ifm_words) for _ in range(pes)])
            for place, address in enumerate(asked[-1]):
                context.set(dut.address[place], address)
            await context.tick()
            if cycle + 1 >= BUFFER_READ_LATENCY:
                answer = [context.get(dut.word[place]) for place in range(pes)]
                addresses = asked[cycle + 1 - BUFFER_READ_LATENCY]
                assert answer == [words[address] for address in addresses]

    simulate(dut, check)


def test_only_the_bytes_of_the_mask_are_written() -> None:
    dut = IfmBuffer(TINY)

    async def check(context: Any) -> None:
        await fill(context, dut.writes, [0x1122334455667788], mask=0xFF)
        await fill(context, dut.writes, [0xAABBCCDDEEFF0011], mask=0b1000_0110)
        await context.tick().repeat(BUFFER_READ_LATENCY)
        assert [context.get(dut.word[place]) for place in range(TINY.pes)] == [
            0xAA22334455FF0088
        ] * TINY.pes

    simulate(dut, check)


@pytest.mark.parametrize("share", [0.0, 0.6, 0.95], ids=["rests", "pauses", "reads"])
@pytest.mark.parametrize("pes", [1, 2, 4, 8])
def test_ifm_words_are_written_while_others_are_read(pes: int, share: float) -> None:
    """A write waits while its bank's port is in use; no read waits for a write."""
    rng = random.Random(pes)
    config = replace(TINY, pes=pes)
    words = [rng.getrandbits(8 * config.lanes) for _ in range(config.ifm_words)]
    writes = [
        (rng.randrange(config.ifm_words), rng.getrandbits(8 * config.lanes)) for _ in range(30)
    ]
    dut = IfmBuffer(config)

    async def check(context: Any) -> None:
        mask = (1 << config.lanes) - 1
        await fill(context, dut.writes, words, mask=mask)
        await context.tick()
        waiting: tuple[int, int] | None = None
        busy: set[int] = set()
        under_way: list[dict[int, int]] = []  # what each PE will get, for each cycle
        asked: list[int] = []
        while writes or waiting:
            offered = writes[0] if writes and rng.random() < 0.8 else None
            address, word = offered or (  # else nobody may take it
                rng.randrange(config.ifm_words),
                rng.getrandbits(8 * config.lanes),
            )
            context.set(dut.writes.payload, {"address": address, "word": word, "mask": mask})
            context.set(dut.writes.valid, offered is not None)
            ready = waiting is None
            assert context.get(dut.writes.ready) == ready
            if ready and offered:
                waiting = writes.pop(0)
            if waiting and waiting[0].bit_count() % 2 not in busy:
                for place in range(1, len(asked), 2):
                    if asked[place] == waiting[0]:
                        del under_way[-1][place]  # either or neither
                words[waiting[0]] = waiting[1]
                waiting = None
            asked = []
            if rng.random() < share:
                asked = [rng.randrange(config.ifm_words) for _ in range(pes)]
                if writes and rng.random() < 0.3:
                    asked[rng.randrange(pes)] = writes[0][0]
            under_way.append({place: words[read] for place, read in enumerate(asked)})
            context.set(dut.reading, bool(asked))
            for place, read in enumerate(asked):
                context.set(dut.address[place], read)
            await context.tick()
            busy = {read.bit_count() % 2 for read in asked[::2]}
            if len(under_way) >= BUFFER_READ_LATENCY:
                for place, word in under_way[-BUFFER_READ_LATENCY].items():
                    assert context.get(dut.word[place]) == word

    simulate(dut, check)


def test_weights_are_read_while_others_are_loaded() -> None:
    rng = random.Random(1)
    words = [rng.getrandbits(8 * TINY.lanes) for _ in range(TINY.weight_words)]
    later = [rng.getrandbits(8 * TINY.lanes) for _ in range(TINY.weight_words // 2)]
    dut = WeightBuffer(TINY)
    loaded = TINY.weight_words // 2

    async def check(context: Any) -> None:
        await fill(context, dut.writes, words)
        asked = []
        for cycle, word in enumerate(later):
            context.set(dut.writes.payload, {"address": cycle, "word": word})
            context.set(dut.writes.valid, 1)
            asked.append(rng.randrange(loaded, TINY.weight_words))
            context.set(dut.address, asked[-1])
            await context.tick()
            if cycle + 1 >= BUFFER_READ_LATENCY:
                assert context.get(dut.word) == words[asked[cycle + 1 - BUFFER_READ_LATENCY]]
        context.set(dut.writes.valid, 0)
        for address in (0, loaded - 1):
            context.set(dut.address, address)
            await context.tick().repeat(BUFFER_READ_LATENCY)
            assert context.get(dut.word) == later[address]

    simulate(dut, check)


def one_row(pixels: int) -> dict[str, Any]:
    """The fields of a descriptor that the banks read, for a layer with an ofm of one row."""
    size = {"height": 1, "width": pixels}
    window = {"kernel_height": 1, "kernel_width": 1, "stride_height": 1, "stride_width": 1}
    return {**size, "pixels": pixels, "pool": {**size, **window}}


class Banks:
    """Drives `OfmBanks`: writes activations into one bank after another."""

    def __init__(self, seed: int, *, pixels: int) -> None:
        self.dut = OfmBanks(TINY)
        self.rng = random.Random(seed)
        self.pixels = pixels
        self.drained = 0

    async def start(self, context: Any) -> None:
        """Begin a layer."""
        context.set(self.dut.layer, one_row(self.pixels))
        context.set(self.dut.start, 1)
        await context.tick()
        context.set(self.dut.start, 0)

    def draw(self, share: float) -> np.ndarray:
        """One group's activations (pixels, G); the others are skipped, and zero."""
        shape = self.pixels, TINY.group
        draw = np.random.default_rng(self.rng.getrandbits(32))
        return draw.integers(1, 256, shape) * (draw.random(shape) < share)

    async def write(self, context: Any, bank: int, group: np.ndarray) -> None:
        """Store the activations that are not zero, in random order, then let the bank leave."""
        places = list(np.argwhere(group))
        self.rng.shuffle(places)
        for index, lane in places:
            await self._cycles(context, self.rng.choice([0, 0, 0, 2]))
            context.set(self.dut.write, 1)
            context.set(self.dut.write_bank, bank)
            context.set(self.dut.write_index, int(index))
            context.set(self.dut.write_lane, int(lane))
            context.set(self.dut.value, int(group[index, lane]))
            await self._cycles(context, 1)
            context.set(self.dut.write, 0)
        context.set(self.dut.drain, 1)
        await self._cycles(context, 1)
        context.set(self.dut.drain, 0)

    async def drained_to(self, context: Any, groups: int) -> None:
        """Wait until that many banks are clear again."""
        while self.drained < groups:
            await self._cycles(context, 1)

    async def _cycles(self, context: Any, count: int) -> None:
        for _ in range(count):
            _, _, drained = await context.tick().sample(self.dut.drained)
            self.drained += drained


@pytest.mark.parametrize("pixels", [1, 2, 7, TINY.ofm_words])
def test_groups_leave_in_order_with_zero_for_what_was_skipped(pixels: int) -> None:
    """One bank is filled while the other leaves, and is zero whenever its turn comes again."""
    banks = Banks(pixels, pixels=pixels)
    groups = [banks.draw(share) for share in (1.0, 0.9, 0.2, 0.0, 0.5, 0.0, 0.1)]

    async def fill_in_turn(context: Any) -> None:
        await context.tick().until(banks.dut.ready)
        await banks.start(context)
        for number, group in enumerate(groups):
            await banks.drained_to(context, number - 1)
            await banks.write(context, number % 2, group)

    async def take(context: Any) -> None:
        for number, group in enumerate(groups):
            words = await get(context, banks.dut.words, pixels, pauses(number))
            assert words == to_words(group), f"group {number}"
        assert context.get(banks.dut.idle)

    simulate(banks.dut, fill_in_turn, take)


def test_banks_are_idle_only_when_every_word_has_left() -> None:
    banks = Banks(1, pixels=6)

    async def check(context: Any) -> None:
        await context.tick().until(banks.dut.ready)
        await banks.start(context)
        assert context.get(banks.dut.idle)
        await banks.write(context, 0, banks.draw(0.5))
        await context.tick().repeat(50)
        for _ in range(6):
            assert not context.get(banks.dut.idle)
            await get(context, banks.dut.words, 1, iter([False] * 10))
        await context.tick().repeat(2)
        assert context.get(banks.dut.idle)

    simulate(banks.dut, check)


def test_a_layer_begins_with_bank_0_after_an_odd_number_of_groups() -> None:
    banks = Banks(2, pixels=5)
    layers = [[banks.draw(0.6) for _ in range(groups)] for groups in (3, 1, 2)]

    async def check(context: Any) -> None:
        await context.tick().until(banks.dut.ready)
        for layer in layers:
            await banks.start(context)
            for number, group in enumerate(layer):
                await banks.write(context, number % 2, group)
                words = await get(context, banks.dut.words, 5, pauses(number))
                assert words == to_words(group)
            await context.tick().until(banks.dut.idle)

    simulate(banks.dut, check)


def test_reset_clears_what_had_not_left() -> None:
    """The next layer sees nothing of one that was cut off. Clearing takes a cycle for each word."""
    banks = Banks(3, pixels=TINY.ofm_words)
    dut = banks.dut
    design = Resettable(dut)

    async def check(context: Any) -> None:
        await context.tick().until(dut.ready)
        await banks.start(context)
        for bank in range(2):
            await banks.write(context, bank, banks.draw(1.0))
        await get(context, dut.words, 10, pauses(1))
        context.set(design.reset, 1)
        await context.tick()
        context.set(design.reset, 0)
        for _ in range(TINY.ofm_words):
            assert not context.get(dut.ready)
            await context.tick()
        assert context.get(dut.ready)
        assert context.get(dut.idle)
        await banks.start(context)
        for bank in range(2):
            await banks.write(context, bank, banks.draw(0.0))
        words = await get(context, dut.words, 2 * TINY.ofm_words, pauses(2))
        assert words == [0] * (2 * TINY.ofm_words)

    simulate(design, check)
