"""The skip-capable MAC array: P processing elements of V lanes that share one weight word a cycle.

Each PE works on its own pixel of the same output channel. A task is a group of up to P pixels; it
takes `kernel_words` cycles, and tasks follow one another without a gap. Because tasks hold only
pixels that are to be computed, a skipped activation never reaches the array.

Throughput: one word of V products for each PE a cycle, and one finished pixel a cycle, so tasks
shorter than P cycles wait for the results before them. Latency from a task's last word to its first
result: `hw.contract.timing.array_latency` cycles when nothing waits.
"""

from amaranth import Cat, Module, Signal
from amaranth.hdl import signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.contract.config import Config
from hw.contract.timing import ADDER_LEVELS_PER_STAGE, BUFFER_READ_LATENCY, array_latency
from hw.layouts.descriptor import LayerDescriptor
from hw.layouts.pixels import Result, Task, sum_bits
from hw.lib.countdown import Countdown
from hw.lib.multiplier import Multiplier
from hw.lib.pipeline import delayed
from hw.lib.register_copies import LANES_PER_COPY, register_copies

__all__ = ["TASKS_IN_FLIGHT", "MacArray"]

TASKS_IN_FLIGHT = 16
"""Tasks between issue and their last result, a power of two: as many of one-word kernels as the
pipeline holds, and more."""


class MacArray(wiring.Component):
    """Dot products of the words that it reads from the ifm and weight buffers.

    Members
    -------
    layer : In(LayerDescriptor)
        Stable from two cycles before the first task on, and while tasks are in flight.
    tasks : In(stream of Task)
    ifm_address : Out(address).array(P)
    ifm_data : In(8 * V).array(P)
        The word at the address of BUFFER_READ_LATENCY cycles before.
    weight_address, weight_data
        Likewise; one word for all PEs.
    results : Out(stream of Result)
        In the order of tasks, and of pixels within a task.
    busy : Out(1)
        A word is being issued in this cycle.
    """

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

    def elaborate(self, platform):
        m = Module()
        config = self._config
        layer = self.layer
        task = self.tasks.payload

        # Issue: walk the kernel's words.
        active = Signal()
        first = Signal()
        inner, outer = Countdown(layer.inner_count), Countdown(layer.outer_count)
        last = inner.last & outer.last
        in_flight = Signal(range(TASKS_IN_FLIGHT + 1))
        accept = self.tasks.valid & self.tasks.ready
        m.d.comb += [
            self.tasks.ready.eq((~active | last) & ~in_flight[-1]),
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
        with m.If(accept):
            m.d.sync += [
                active.eq(1),
                first.eq(1),
                self.weight_address.eq(task.weight_base),
                *inner.begin(),
                *outer.begin(),
            ]
            for address, pixel in zip(self.ifm_address, task.pixels, strict=True):
                m.d.sync += address.eq(pixel.base)

        # Multiply and add.
        sums = []
        cycles = 0
        # Settled long before the first word: it may take its time to where it is needed.
        signs = register_copies(m, platform, layer.ifm_signed, config.pes)
        for pe, (ifm_word, is_signed) in enumerate(zip(self.ifm_data, signs, strict=True)):
            total, cycles = _dot_product(m, platform, pe, ifm_word, self.weight_data, is_signed)
            sums.append(total)
        delay = BUFFER_READ_LATENCY + cycles
        assert array_latency(config) == delay + 2, "then an accumulator and a queue"
        step = delayed(m, active, delay)
        step_first = delayed(m, first, delay)
        step_last = delayed(m, active & last, delay)
        finished = Signal()
        m.d.sync += finished.eq(step_last)
        accumulators = []
        for total in sums:
            accumulator = Signal(signed(sum_bits(config)), reset_less=True)
            with m.If(step):
                m.d.sync += accumulator.eq(total)
                with m.If(~step_first):
                    m.d.sync += accumulator.eq(accumulator + total)
            accumulators.append(accumulator)

        # Collect: sums and what they belong to wait side by side for their turn.
        info_layout = data.StructLayout(
            {
                "index": data.ArrayLayout(ceil_log2(config.ofm_words), config.pes),
                "mask": config.pes,
                "tag": task.tag.shape(),
            }
        )
        sums_layout = data.ArrayLayout(signed(sum_bits(config)), config.pes)
        m.submodules.infos = infos = SyncFIFO(width=info_layout.size, depth=TASKS_IN_FLIGHT)
        m.submodules.sums = finished_sums = SyncFIFO(width=sums_layout.size, depth=TASKS_IN_FLIGHT)
        new_info = data.View(info_layout, infos.w_data)
        m.d.comb += [
            infos.w_en.eq(accept),
            new_info.mask.eq(task.mask),
            new_info.tag.eq(task.tag),
            finished_sums.w_en.eq(finished),
            finished_sums.w_data.eq(Cat(accumulators)),
        ]
        for place, pixel in enumerate(task.pixels):
            m.d.comb += new_info.index[place].eq(pixel.index)

        # Hand out, one pixel a cycle.
        info = data.View(info_layout, infos.r_data)
        ready_sums = data.View(sums_layout, finished_sums.r_data)
        place = Signal(range(max(config.pes, 2)))  # Verilog has no vector of no bits
        result = self.results.payload
        following = (info.mask >> place)[1:]
        m.d.comb += [
            self.results.valid.eq(finished_sums.r_rdy),
            result.sum.eq(ready_sums[place]),
            result.index.eq(info.index[place]),
            result.tag.eq(info.tag),
            result.last.eq(~following.any()),
        ]
        pop = Signal()
        m.d.comb += [
            pop.eq(self.results.valid & self.results.ready & result.last),
            infos.r_en.eq(pop),
            finished_sums.r_en.eq(pop),
        ]
        with m.If(self.results.valid & self.results.ready):
            m.d.sync += place.eq(place + 1)
            with m.If(result.last):
                m.d.sync += place.eq(0)
        m.d.sync += in_flight.eq(in_flight + accept - pop)
        return m


def _dot_product(m: Module, platform: object, pe: int, ifm_word, weight_word, ifm_signed):
    """V products and their sum; returns it with its latency in cycles.

    A multiplier stands between registers of its own, for memories are slow to answer and far away.
    Its name says where it belongs (`hw.fpga.floorplan`).
    """
    level = []
    lanes = len(ifm_word) // 8
    signs = register_copies(m, platform, ifm_signed, lanes, LANES_PER_COPY)
    for lane, is_signed in enumerate(signs):
        byte = ifm_word.word_select(lane, 8)
        multiplier = Multiplier(signed(9), signed(8), holds_factors=True)
        m.submodules[f"product_{pe}_{lane}"] = multiplier
        m.d.comb += [
            multiplier.a.eq(Cat(byte, byte[7] & is_signed)),
            multiplier.b.eq(weight_word.word_select(lane, 8)),
        ]
        # At most 255 * 128 either way: a bit less than any nine-bit number could make it.
        level.append(multiplier.product[:16].as_signed())
    cycles = multiplier.latency
    depth = 0
    while len(level) > 1:
        level = [a + b for a, b in zip(level[::2], level[1::2], strict=True)]
        depth += 1
        if depth % ADDER_LEVELS_PER_STAGE == 1 or len(level) == 1:
            registered = [Signal.like(total, reset_less=True) for total in level]
            m.d.sync += [r.eq(total) for r, total in zip(registered, level, strict=True)]
            level = registered
            cycles += 1
    return level[0], cycles
