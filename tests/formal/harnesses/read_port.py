"""The read port reserves what it asks for, so it never overflows, and no client starves.

Its environment is any splitters (`AnyBursts`), any queues (`AnyQueue`), and any memory that answers
each client's bursts in order, in whatever order among the clients, beat by beat.
"""

from __future__ import annotations

from amaranth import Cat, Mux, Signal
from amaranth.hdl import Fragment, Value

from hw.contract.bus import BURST
from hw.contract.timing import READ_QUEUE
from tests.formal.harness import Defect, Harness, progress, stream_is_stable
from tests.formal.harnesses.queue import AnyQueue
from tests.formal.harnesses.splitter import AnyBursts
from tests.hw.small_configs import TINY

__all__ = ["ReadPortHarness"]

_MODULE = "hw.core.dma"
_CLIENTS = 2
_FITS = "client {}: it is counted what is asked for and has not left, and that fits its queue"


class ReadPortHarness(Harness):
    """Read port."""

    component = "ReadPort"
    sizes = (
        f"{_CLIENTS} clients, queues of {READ_QUEUE} beats, bursts of {BURST} beats, "
        "one bit of a beat stands for all"
    )
    defects = (
        Defect(
            module=_MODULE,
            old="asks[number].eq(bursts.valid & fits & ~mine)",
            new="asks[number].eq(bursts.valid & ~mine)",
            breaks=_FITS.format(0),
        ),
        Defect(
            module=_MODULE,
            old="queue.w_en.eq(self.axi.rvalid & (self.axi.rid == number))",
            new="queue.w_en.eq(self.axi.rvalid)",
            breaks="client 0: its beats enter its queue, and leave from it",
        ),
        Defect(
            module=_MODULE,
            old="& ~mine),\n                reserved",
            new="),\n                reserved",
            breaks="a burst that is begun is on the bus in the next cycle",
        ),
        Defect(
            module=_MODULE,
            old="taken = free & ~self.halt",
            new="taken = free",
            breaks="a halted port begins no burst",
        ),
        Defect(
            module=_MODULE,
            old="self.idle.eq(~self.axi.arvalid & (under_way == 0))",
            new="self.idle.eq(~self.axi.arvalid)",
            breaks="an idle port has no burst open",
        ),
    )

    # Held only for a number of cycles until now, in the long form.
    slow = frozenset(
        {*(_FITS.format(number) for number in range(_CLIENTS)), "an idle port has no burst open"}
    )

    def build(self) -> None:
        m = self.m
        module = self.source(_MODULE)
        splitters = self.stand_in(module, "_Splitter", AnyBursts)
        queues = self.stand_in(module, "memory_queue", AnyQueue)
        signals = self.named_signals(module)
        dut = module.ReadPort(TINY, _CLIENTS)
        m.submodules.dut = Fragment.get(dut, None)
        axi = dut.axi
        for name in ("arready", "rvalid", "rid", "rresp", "rlast"):
            self.drive(getattr(axi, name), name)
        m.d.comb += axi.rdata.eq(self.free(1, "rdata_bit"))
        halt = self.drive(dut.halt, "halt")
        self.drive(dut.window, "window")

        begins = [splitter.bursts.valid & splitter.bursts.ready for splitter in splitters]
        issued = axi.arvalid & axi.arready
        self.assume(~axi.rvalid | (axi.rid < _CLIENTS))
        still_open: list[Value] = []
        for number, (splitter, queue) in enumerate(zip(splitters, queues, strict=True)):
            client = f"client {number}"
            words = dut.words[number]
            splitter.choose(self, f"bursts_{number}")
            queue.choose(self, f"queue_{number}")
            self.drive(dut.requests[number].valid, f"requests_{number}_valid")
            self.drive(words.ready, f"words_{number}_ready")
            beats = splitter.bursts.payload.beats
            leaves = words.valid & words.ready
            arrives = axi.rvalid & (axi.rid == number)

            # Beats that were asked for and have not left. The port learns a cycle late that one
            # has left.
            held = Signal(range(2 * READ_QUEUE), name=f"held_{number}")
            known = signals[f"reserved_{number}"]
            m.d.sync += held.eq(held + Mux(begins[number], beats, 0) - leaves)
            # The memory sends no beat that is not asked for, and ends every burst: it has open
            # bursts exactly while it owes beats.
            asked = axi.arvalid & (axi.arid == number)
            unissued = Mux(asked, axi.arlen + 1, 0)
            owed = held - queue.level - unissued
            bursts = Signal(range(READ_QUEUE + 1), name=f"open_{number}")
            m.d.sync += bursts.eq(bursts + (issued & (axi.arid == number)) - (arrives & axi.rlast))
            self.assume(~arrives | ((owed > 0) & (bursts != 0)))
            self.assume(~arrives | (axi.rlast == ((bursts == 1) & (owed == 1))) | (bursts < owed))
            self.assume(~arrives | ~axi.rlast | (bursts != 1) | (owed == 1))
            still_open.append(bursts != 0)

            # Together, because each needs the others.
            self.prove(
                _FITS.format(number),
                (held >= queue.level + unissued)
                & (known == held + self.register(leaves))
                & (known <= READ_QUEUE)
                & (~begins[number] | (known + beats <= READ_QUEUE))
                & (~splitter.bursts.ready | splitter.bursts.valid)
                & (~splitter.bursts.valid | ((beats != 0) & (beats <= BURST))),
            )
            self.prove(
                f"{client}: no beat finds its queue full",
                ~arrives | queue.w_rdy,
                given=[_FITS.format(number)],
            )
            self.prove(
                f"{client}: its beats enter its queue, and leave from it",
                (queue.w_en == arrives)
                & (queue.w_data == axi.rdata)
                & (words.valid == queue.r_rdy)
                & (queue.r_en == words.ready)
                & (words.payload == queue.r_data),
            )
            self.prove(
                f"{client}: a burst outside the window is reported",
                dut.outside[number] == splitter.outside,
            )
            room = held + beats <= READ_QUEUE
            progress(
                self,
                f"{client}: its burst is begun soon, whatever the others ask for",
                favourable=splitter.bursts.valid & room & axi.arready & ~halt,
                event=begins[number],
                cycles=4,
            )

        self.prove("one burst is begun at a time", sum(begins) <= 1)
        offered = axi.arvalid & ~self.register(axi.arvalid & ~axi.arready)
        self.prove(
            "a burst that is begun is on the bus in the next cycle",
            offered == self.register(Cat(begins).any()),
        )
        for number, splitter in enumerate(splitters):
            fields = self.register(splitter.bursts.payload)
            mine = self.register(begins[number])
            self.prove(
                f"client {number}: a burst on the bus has its address, length and ID",
                ~mine
                | (
                    (Cat(axi.araddr, axi.arlen + 1)[: len(fields)] == fields) & (axi.arid == number)
                ),
            )
        stream_is_stable(
            self, "addresses are stable", axi.arvalid, axi.arready, axi.araddr, axi.arlen, axi.arid
        )
        self.prove("beats are taken at once", axi.rready)
        self.prove("an error is reported as it arrives", dut.error == (axi.rvalid & axi.rresp[1]))
        self.prove("a beat is counted as it arrives", dut.beat == axi.rvalid)
        self.prove("a halted port begins no burst", ~(self.register(halt) & offered))
        self.prove(
            "an idle port has no burst open", ~dut.idle | ~(Cat(still_open).any() | axi.arvalid)
        )
        self.cover("a burst has arrived", axi.rvalid & axi.rlast)
