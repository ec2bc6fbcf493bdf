"""Sequencer: fetches a program and has the datapath run it, tile after tile.

A program is a header and a list of tile descriptors (`hw.contract.program`). Their words come one a
cycle
and are checked against their limits on the way, those of the next tile while one is in work; what
is wrong with them is said when their turn comes. After each tile its counters are added to the
totals, and stored in memory where the descriptor says so: `STORED_BYTES`, each counter in
`TOTAL_BITS`, in the order of `CORE_COUNTERS`.
"""

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from hw.contract.bus import ADDRESS_BITS
from hw.contract.config import Config
from hw.contract.counters import CORE_COUNTERS, COUNTER_BITS, STORED_BYTES, TOTAL_BITS
from hw.contract.program import (
    DESCRIPTOR_BYTES,
    HEADER_BYTES,
    Word,
    descriptor_words,
    header_words,
)
from hw.contract.registers import Fault
from hw.core.axi import Axi4Signature
from hw.core.datapath import Datapath
from hw.core.register_block import FAULT_BITS
from hw.layouts.descriptor import TileDescriptor, word_shape
from hw.lib.fsm import in_state
from hw.lib.pipeline import delayed
from hw.lib.register_copies import register_copies
from hw.lib.width_converter import Downsizer, Upsizer

__all__ = ["Sequencer"]

_WORDS = STORED_BYTES // 4


class Sequencer(wiring.Component):
    """Runs one program, then waits for the next start; after a fault only a reset helps.

    Members
    -------
    start : In(1)
        Taken while no program runs.
    program : In(address)
    point : In(8)
        Number of the operating point.
    done : Out(1)
        The program has ended, all its writes are answered; for one cycle.
    fault : Out(Fault)
        For one cycle; nothing more of the program is run.
    fault_word : Out(8)
        For the program's own faults, the number of the first word at fault.
    layer : Out(16)
        The layer in work.
    counter : In, total : Out(TOTAL_BITS)
        Lookup of a counter's total, in the same cycle.
    halt, idle : see `hw.core.datapath`
    m_axi : Out(Axi4Signature)
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "program": In(ADDRESS_BITS),
                "point": In(8),
                "done": Out(1),
                "fault": Out(FAULT_BITS),
                "fault_word": Out(8),
                "layer": Out(16),
                "counter": In(range(len(CORE_COUNTERS))),
                "total": Out(TOTAL_BITS),
                "halt": In(1),
                "idle": Out(1),
                "m_axi": Out(Axi4Signature(data_bits=config.bus_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.datapath = datapath = Datapath(config)
        connect(m, datapath.m_axi, flipped(self.m_axi))
        m.d.comb += [datapath.halt.eq(self.halt), self.idle.eq(datapath.idle)]

        # Words of a header or descriptor: checked, and kept.
        m.submodules.words = words = Downsizer(32, config.bus_bytes // 4)
        connect(m, datapath.beats, words.i)
        tile = Signal(TileDescriptor(config), reset_less=True)
        next_tile = Signal(TileDescriptor(config), reset_less=True)
        shapes = {name: word_shape(word) for name, word in header_words(config).items()}
        program = Signal(data.StructLayout({name: shapes[name] for name in ("tiles", "first")}))
        number = Signal(8)
        word = Signal(32, reset_less=True)
        is_header, fetching, fetched = Signal(), Signal(), Signal()
        last = Signal()
        bad, bad_number = Signal(), Signal(8)
        m.d.comb += [
            words.o.ready.eq(fetching),
            last.eq(number == Mux(is_header, HEADER_BYTES // 4, DESCRIPTOR_BYTES // 4) - 1),
            datapath.tile.eq(tile),
            datapath.next.eq(next_tile),
            datapath.fetched.eq(fetched & ~is_header & ~bad),
            self.layer.eq(tile.layer),
        ]
        # Registers before and behind: memory is slow to answer, and every limit is a comparison, of
        # a copy of the word that is for them alone.
        # For each word a flag says that it has come; which is the next one say two flags of as many
        # as its number has units and eights. No more come than were asked for.
        taken = words.o.valid & words.o.ready
        unit = Signal(8, init=1)
        eight = Signal(-(-DESCRIPTOR_BYTES // (4 * len(unit))), init=1)
        m.d.sync += word.eq(words.o.payload)
        (checked,) = register_copies(m, platform, words.o.payload, 1)
        with m.If(taken):
            m.d.sync += [number.eq(number + 1), unit.eq(unit.rotate_left(1))]
            with m.If(unit[-1]):
                m.d.sync += eight.eq(eight.rotate_left(1))
            with m.If(last):
                m.d.sync += [number.eq(0), unit.eq(1), eight.eq(1)]
        refused = []
        for of_table, table, kept in (
            (taken & is_header, header_words(config), program),
            (taken & ~is_header, descriptor_words(config), next_tile),
        ):
            for position, (name, limits) in enumerate(table.items()):
                eights, units = divmod(position, len(unit))
                here = delayed(m, of_table & unit[units] & eight[eights], 1)
                refused.append(delayed(m, here & ~_accepts(limits, checked), 1))
                field = _field(kept, name)
                if field is not None:
                    with m.If(here):
                        m.d.sync += field.eq(word)
        wrong, wrong_number = delayed(m, Cat(refused).any(), 1), delayed(m, number, 3)
        ends = delayed(m, taken & last, 3)
        with m.If(wrong & ~bad):
            m.d.sync += [bad.eq(1), bad_number.eq(wrong_number)]
        m.d.comb += self.fault_word.eq(bad_number)

        # Counters: half a counter every other cycle, the lower half first.
        m.submodules.totals = totals = memory.Memory(
            shape=unsigned(TOTAL_BITS), depth=1 << ceil_log2(len(CORE_COUNTERS)), init=[]
        )
        shown, total = totals.read_port(domain="comb"), totals.read_port(domain="comb")
        update = totals.write_port()
        m.submodules.pack = pack = Upsizer(32, config.bus_bytes // 4)
        connect(m, pack.o, datapath.stored)
        half = Signal(range(_WORDS))
        clearing, counting = Signal(), Signal()
        stores = Signal()
        counted = Cat(*(datapath.counters[name] for name in CORE_COUNTERS))
        count = Signal(TOTAL_BITS, reset_less=True)
        settled = Signal()
        halves = Signal()
        m.d.sync += [count.eq(counted.word_select(half[1:], COUNTER_BITS)), settled.eq(~halves)]
        m.d.comb += [
            shown.addr.eq(self.counter),
            self.total.eq(shown.data),
            total.addr.eq(half[1:]),
            update.addr.eq(half[1:]),
            update.data.eq(Mux(clearing, 0, total.data + count)),
            stores.eq(tile.counters != 0),
            pack.i.valid.eq(counting & stores & settled),
            pack.i.payload.eq(count.word_select(half[0], 32)),
            halves.eq(settled & (clearing | (counting & (~stores | pack.i.ready)))),
            update.en.eq(halves & half[0]),
            datapath.store.payload.address.eq(tile.counters),
            datapath.store.payload.beats.eq(STORED_BYTES // config.bus_bytes),
        ]
        halves_end = halves & (half == _WORDS - 1)
        with m.If(halves):
            m.d.sync += half.eq(Mux(halves_end, 0, half + 1))

        # The program.
        tiles_left = Signal.like(program.tiles)
        address = Signal(ADDRESS_BITS)
        m.d.comb += [
            datapath.requests.payload.address.eq(address),
            datapath.requests.payload.beats.eq(
                Mux(is_header, HEADER_BYTES, DESCRIPTOR_BYTES) // config.bus_bytes
            ),
        ]
        with m.FSM() as fetch:
            m.d.comb += [
                datapath.requests.valid.eq(in_state(fetch, "ASK")),
                fetching.eq(in_state(fetch, "WORDS")),
                fetched.eq(in_state(fetch, "FETCHED")),
            ]
            with m.State("REST"):
                with m.If(is_header | ((tiles_left != 0) & datapath.loaded)):
                    m.next = "ASK"
            with m.State("ASK"):
                with m.If(datapath.requests.ready):
                    m.d.sync += address.eq(address + DESCRIPTOR_BYTES)
                    m.next = "WORDS"
            with m.State("WORDS"):
                with m.If(ends):
                    m.next = "FETCHED"
            with m.State("FETCHED"):
                with m.If(is_header | datapath.start):
                    m.next = "REST"
        with m.FSM() as life:
            m.d.comb += [
                clearing.eq(in_state(life, "CLEAR")),
                datapath.clear.eq(clearing),
                is_header.eq(in_state(life, "HEADER")),
                datapath.start.eq(in_state(life, "BEGIN")),
                datapath.store.valid.eq(in_state(life, "STORE") & stores),
                counting.eq(in_state(life, "COUNT")),
                self.done.eq(in_state(life, "END")),
                self.fault.eq(
                    Mux(
                        datapath.read_error,
                        Fault.READ,
                        Mux(
                            datapath.write_error,
                            Fault.WRITE,
                            Mux(
                                in_state(life, "BAD HEADER"),
                                Fault.HEADER,
                                Mux(in_state(life, "BAD TILE"), Fault.DESCRIPTOR, Fault.NONE),
                            ),
                        ),
                    )
                ),
            ]
            with m.State("REST"):
                with m.If(self.start):
                    m.d.sync += address.eq(self.program + self.point * HEADER_BYTES)
                    m.next = "CLEAR"
            with m.State("CLEAR"):
                with m.If(halves_end):
                    m.next = "HEADER"
            with m.State("HEADER"):
                with m.If(fetched):
                    m.d.sync += [address.eq(program.first), tiles_left.eq(program.tiles)]
                    m.next = "NEXT"
                    with m.If(bad):
                        m.next = "BAD HEADER"
            with m.State("NEXT"):
                with m.If(fetched):
                    m.next = "TAKE"
            with m.State("TAKE"):
                m.next = "BEGIN"
                with m.If(bad):
                    m.next = "BAD TILE"
            with m.State("BEGIN"):
                m.next = "RUN"
            with m.State("RUN"):
                with m.If(datapath.done):
                    m.next = "STORE"
            with m.State("STORE"):
                with m.If(datapath.store.ready | ~stores):
                    m.next = "COUNT"
            with m.State("COUNT"):
                with m.If(halves_end):
                    m.next = "WRITE"
            with m.State("WRITE"):
                # The last beat of counters is on its way before the tile's first follows it.
                with m.If((tiles_left != 0) & ~pack.waiting):
                    m.next = "NEXT"
                with m.If((tiles_left == 0) & datapath.written):
                    m.next = "END"
            with m.State("END"):
                m.next = "REST"
            with m.State("BAD HEADER"):
                m.next = "FAULT"
            with m.State("BAD TILE"):
                m.next = "FAULT"
            with m.State("FAULT"):
                pass
        # In TAKE: out of a register, because it enables a whole descriptor.
        takes = delayed(m, in_state(life, "NEXT") & fetched, 1)
        m.d.sync += tile.eq(Mux(takes, next_tile, tile))
        with m.If(takes):
            m.d.sync += tiles_left.eq(tiles_left - 1)
        return m


def _accepts(limits: Word, word):
    """`Word.accepts` in hardware."""
    value = word.as_signed() if limits.low < 0 else word
    accepted = word[: ceil_log2(limits.multiple)] == 0
    if limits.high + limits.multiple < 1 << len(word):
        accepted &= value <= limits.high
    if limits.low != 0:
        accepted &= value >= limits.low
    return accepted


def _field(kept, name: str):
    """The place where a word is kept, if it is."""
    first, _, rest = name.partition(".")
    if first not in kept.shape().members:
        return None
    return _field(kept[first], rest) if rest else kept[first]
