"""The MAC array: P processing elements of V lanes that share one weight word a cycle.

Each PE works on its own pixel of the same output channel. A task is a vector of up to P pixels; it
takes `kernel_words` cycles, and tasks follow one another without a gap. Tasks hold only pixels that
are to be computed, so a skipped activation never reaches the array.

Throughput: V products for each PE a cycle, and one finished pixel a cycle; so tasks shorter than P
cycles wait for the results before them. Latency from a task's last word to its first result:
`hw.contract.timing.array_latency` cycles when nothing waits.
"""

from collections.abc import Sequence

from amaranth import Cat, Module, Signal, Value
from amaranth.hdl import signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.contract.config import Config
from hw.contract.timing import ADDER_LEVELS_PER_STAGE, BUFFER_READ_LATENCY, array_latency
from hw.layouts.descriptor import LayerDescriptor
from hw.layouts.pixels import Result, Tag, Task, sum_bits
from hw.lib.countdown import Countdown
from hw.lib.multiplier import Multiplier, MultiplierPair, MultiplierPairPlatform
from hw.lib.pipeline import delayed
from hw.lib.register_copies import LANES_PER_COPY, register_copies

__all__ = ["TASKS_IN_FLIGHT", "MacArray"]

TASKS_IN_FLIGHT = 16
"""Most tasks between issue and their last result, a power of two. The pipeline holds fewer, even
where a task takes one cycle."""


class MacArray(wiring.Component):
    """Dot products of the words that it reads from the ifm and weight buffers.

    Members
    -------
    layer : In(LayerDescriptor)
        Stable from two cycles before the first task until the last task's results have left.
    tasks : In(stream of Task)
    ifm_address : Out(address).array(P)
    ifm_data : In(8 * V).array(P)
        The word at the address of BUFFER_READ_LATENCY cycles before.
    weight_address : Out(address), weight_data : In(8 * V)
        Likewise, one word for all PEs.
    results : Out(stream of Result)
        In the order of the tasks, and of the pixels within a task.
    busy : Out(1)
        A word is being issued in this cycle.
    """

    layer: data.View
    tasks: stream.Interface
    ifm_address: list[Signal]
    ifm_data: list[Signal]
    weight_address: Signal
    weight_data: Signal
    results: stream.Interface
    busy: Signal

    def __init__(self, config: Config) -> None:
        self._config = config
        ifm_address = ceil_log2(config.ifm_words)
        super().__init__(
            {
                "layer": In(LayerDescriptor(config)),
                "tasks": In(stream.Signature(Task(config))),
                "ifm_address": Out(ifm_address).array(config.pes),
                "ifm_data": In(8 * config.lanes).array(config.pes),
                "weight_address": Out(ceil_log2(config.weight_words)),
                "weight_data": In(8 * config.lanes),
                "results": Out(stream.Signature(Result(config))),
                "busy": Out(1),
            }
        )
        self._in_flight = Signal(range(TASKS_IN_FLIGHT + 1), name="in_flight")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        accepted, first, last = self._issue(m)
        finished, sums = self._accumulate(m, platform, first, last)
        self._collect(m, accepted, finished, sums)
        return m

    def _issue(self, m: Module) -> tuple[Value, Value, Value]:
        """Walks through the words of a task's kernel.

        Returns whether a task is accepted in this cycle, and whether the word issued in it is its
        task's first and last.
        """
        layer = self.layer
        task = self.tasks.payload
        active = Signal()
        first = Signal()
        inner = Countdown(layer.inner_count)
        outer = Countdown(layer.outer_count)
        last = inner.last & outer.last
        accepted = self.tasks.valid & self.tasks.ready
        m.d.comb += [
            self.tasks.ready.eq((~active | last) & ~self._in_flight[-1]),
            self.busy.eq(active),
        ]
        with m.If(active):
            m.d.sync += [
                first.eq(0),
                self.weight_address.eq(self.weight_address + 1),
                *inner.advance(),
            ]
            for address in self.ifm_address:
                m.d.sync += address.eq(address + layer.inner_step)
            with m.If(inner.last):
                m.d.sync += outer.advance()
                for address in self.ifm_address:
                    m.d.sync += address.eq(address + layer.outer_step)
            with m.If(last):
                m.d.sync += active.eq(0)
        with m.If(accepted):
            m.d.sync += [
                active.eq(1),
                first.eq(1),
                self.weight_address.eq(task.weight_base),
                *inner.begin(),
                *outer.begin(),
            ]
            for address, pixel in zip(self.ifm_address, task.pixels, strict=True):
                m.d.sync += address.eq(pixel.base)
        return accepted, first, active & last

    def _accumulate(
        self, m: Module, platform: object, first: Value, last: Value
    ) -> tuple[Signal, list[Signal]]:
        """Multiplies and adds the words read; returns whether a task is finished, and its sums."""
        config = self._config
        totals = []
        cycles = 0
        # The sign is settled long before the first word, so the copies may come late.
        signs = register_copies(m, platform, self.layer.ifm_signed, config.pes)
        words = list(zip(self.ifm_data, signs, strict=True))
        if isinstance(platform, MultiplierPairPlatform) and config.pes > 1:
            for pe in range(0, config.pes, 2):
                pair = _paired_products(m, platform, pe, words[pe : pe + 2], self.weight_data)
                for products in pair:
                    total, cycles = _sum(m, products, MultiplierPair.latency)
                    totals.append(total)
        else:
            for pe, (ifm_word, is_signed) in enumerate(words):
                products, cycles = _products(m, platform, pe, ifm_word, self.weight_data, is_signed)
                total, cycles = _sum(m, products, cycles)
                totals.append(total)
        delay = BUFFER_READ_LATENCY + cycles
        assert array_latency(config) == delay + 2, "then an accumulator and a queue"
        step = delayed(m, self.busy, delay)
        step_first = delayed(m, first, delay)
        step_last = delayed(m, last, delay)
        finished = Signal()
        m.d.sync += finished.eq(step_last)
        sums = []
        for total in totals:
            accumulator = Signal(signed(sum_bits(config)), reset_less=True)
            with m.If(step):
                m.d.sync += accumulator.eq(total)
                with m.If(~step_first):
                    m.d.sync += accumulator.eq(accumulator + total)
            sums.append(accumulator)
        return finished, sums

    def _collect(self, m: Module, accepted: Value, finished: Signal, sums: list[Signal]) -> None:
        """Hands out the sums, one pixel a cycle.

        A task's indices, mask and tag wait in one queue from its issue on, its sums in another.
        """
        config = self._config
        task = self.tasks.payload
        info_layout = data.StructLayout(
            {
                "index": data.ArrayLayout(ceil_log2(config.ofm_words), config.pes),
                "mask": config.pes,
                "tag": Tag(config),
            }
        )
        sums_layout = data.ArrayLayout(signed(sum_bits(config)), config.pes)
        m.submodules.infos = infos = SyncFIFO(width=info_layout.size, depth=TASKS_IN_FLIGHT)
        m.submodules.sums = finished_sums = SyncFIFO(width=sums_layout.size, depth=TASKS_IN_FLIGHT)
        new_info = data.View(info_layout, infos.w_data)
        m.d.comb += [
            infos.w_en.eq(accepted),
            new_info.mask.eq(task.mask),
            new_info.tag.eq(task.tag),
            finished_sums.w_en.eq(finished),
            finished_sums.w_data.eq(Cat(sums)),
        ]
        for index, pixel in zip(new_info.index, task.pixels, strict=True):
            m.d.comb += index.eq(pixel.index)

        info = data.View(info_layout, infos.r_data)
        ready_sums = data.View(sums_layout, finished_sums.r_data)
        place = Signal(range(max(config.pes, 2)))  # Verilog has no vector of zero bits
        result = self.results.payload
        following = (info.mask >> place)[1:]
        taken = self.results.valid & self.results.ready
        pop = Signal()
        m.d.comb += [
            self.results.valid.eq(finished_sums.r_rdy),
            result.sum.eq(ready_sums[place]),
            result.index.eq(info.index[place]),
            result.tag.eq(info.tag),
            result.last.eq(~following.any()),
            pop.eq(taken & result.last),
            infos.r_en.eq(pop),
            finished_sums.r_en.eq(pop),
        ]
        with m.If(taken):
            m.d.sync += place.eq(place + 1)
            with m.If(result.last):
                m.d.sync += place.eq(0)
        m.d.sync += self._in_flight.eq(self._in_flight + accepted - pop)


def _products(
    m: Module, platform: object, pe: int, ifm_word: Value, weight_word: Value, ifm_signed: Value
) -> tuple[list[Value], int]:
    """V products, and their latency in cycles.

    Each multiplier has registers for its factors, because the memories are slow to answer and far
    away. `hw.fpga.floorplan` places the multipliers by their names.
    """
    products: list[Value] = []
    cycles = 0
    for lane, factor in enumerate(_factors(m, platform, ifm_word, ifm_signed)):
        multiplier = Multiplier(signed(9), signed(8), holds_factors=True)
        m.submodules[f"product_{pe}_{lane}"] = multiplier
        m.d.comb += [
            multiplier.a.eq(factor),
            multiplier.b.eq(weight_word.word_select(lane, 8)),
        ]
        # A product's magnitude is at most 255 * 128, so it takes a bit less than 9 + 8.
        products.append(multiplier.product[:16].as_signed())
        cycles = multiplier.latency
    return products, cycles


def _paired_products(
    m: Module, platform: object, pe: int, words: Sequence[tuple[Value, Value]], weight_word: Value
) -> tuple[list[Value], list[Value]]:
    """V products each of two PEs. They share a weight, so a block that gives two gives both."""
    first, second = (_factors(m, platform, word, is_signed) for word, is_signed in words)
    products: tuple[list[Value], list[Value]] = [], []
    for lane, factors in enumerate(zip(first, second, strict=True)):
        pair = MultiplierPair(signed(9), signed(8))
        m.submodules[f"products_{pe}_{lane}"] = pair
        m.d.comb += pair.b.eq(weight_word.word_select(lane, 8))
        for factor, port, result, into in zip(factors, pair.a, pair.product, products, strict=True):
            m.d.comb += port.eq(factor)
            into.append(result)
    return products


def _factors(m: Module, platform: object, ifm_word: Value, ifm_signed: Value) -> list[Value]:
    """The V activations of a word as signed numbers of 9 bits."""
    lanes = len(ifm_word) // 8
    signs = register_copies(m, platform, ifm_signed, lanes, LANES_PER_COPY)
    octets = [ifm_word.word_select(lane, 8) for lane in range(lanes)]
    return [Cat(octet, octet[7] & sign) for octet, sign in zip(octets, signs, strict=True)]


def _sum(m: Module, products: list[Value], cycles: int) -> tuple[Value, int]:
    """The sum of products that are `cycles` late, and its own latency in cycles."""
    level = products
    depth = 0
    while len(level) > 1:
        level = [a + b for a, b in zip(level[::2], level[1::2], strict=True)]
        depth += 1
        if depth % ADDER_LEVELS_PER_STAGE == 1 or len(level) == 1:
            registered = [Signal.like(total, reset_less=True) for total in level]
            m.d.sync += [r.eq(total) for r, total in zip(registered, level, strict=True)]
            level = [*registered]
            cycles += 1
    return level[0], cycles
