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

__all__ = ["ReadArbitrationHarness", "ReadPortHarness"]

_MODULE = "hw.core.dma"
_CLIENTS = 4
_FITS = "client {}: it is counted what is asked for and has not left, and that fits its queue"
_OPEN = "the open bursts are counted"
_SOON_SERVED = 3
"""Clients that never wait for long, whatever bursts the others ask for: no client begins a burst
more often than every third cycle. `ReadArbitrationHarness` is about the last one."""
_LONGEST_WAIT = 20
"""Cycles that the client waits that is served last, where the bus takes an address a cycle."""
_LAST_SERVED = f"the last client's burst is begun within {_LONGEST_WAIT} cycles, where it fits"


class ReadPortHarness(Harness):
    """Read port."""

    component = "ReadPort"
    depth = 7
    sizes = (
        f"as built: {_CLIENTS} clients, queues of {READ_QUEUE} beats, bursts of {BURST} beats, "
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
            breaks="an idle port has no burst open, and no beat is owed",
        ),
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
        for name in ("arready", "rid", "rresp"):
            self.drive(getattr(axi, name), name)
        m.d.comb += axi.rdata.eq(self.free(1, "rdata_bit"))
        halt = self.drive(dut.halt, "halt")
        self.drive(dut.window, "window")

        begins = [splitter.bursts.valid & splitter.bursts.ready for splitter in splitters]
        issued = axi.arvalid & axi.arready
        # The memory sends no beat that is not asked for. That is so by construction and not by an
        # assumption: the solver can use it at every step.
        answers = Signal(_CLIENTS)
        ends = Signal(_CLIENTS)
        answered = axi.rid < _CLIENTS
        m.d.comb += [
            axi.rvalid.eq(
                self.free(1, "rvalid_chosen") & answered & answers.bit_select(axi.rid, 1)
            ),
            axi.rlast.eq(ends.bit_select(axi.rid, 1)),
        ]
        may_end = self.free(1, "rlast_chosen")
        open_bursts: list[Signal] = []
        well_formed: list[Value] = []
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

            # Every beat that is asked for is in a burst on the bus, owed by the memory, or queued.
            asked = axi.arvalid & (axi.arid == number)
            unissued = Mux(asked, axi.arlen + 1, 0)
            owed = Signal(range(READ_QUEUE + 1), name=f"owed_{number}")
            bursts = Signal(range(READ_QUEUE + 1), name=f"open_{number}")
            is_issued = issued & (axi.arid == number)
            m.d.sync += [
                owed.eq(owed + Mux(is_issued, axi.arlen + 1, 0) - arrives),
                bursts.eq(bursts + is_issued - (arrives & axi.rlast)),
            ]
            # A burst ends with its last beat. Bursts as many as beats are of one beat each, and a
            # single burst ends with the last beat that is owed.
            m.d.comb += [
                answers[number].eq(owed != 0),
                ends[number].eq((bursts == owed) | ((bursts != 1) & may_end)),
            ]
            open_bursts.append(bursts)
            well_formed.append((bursts <= owed) & ((bursts == 0) == (owed == 0)))

            # Together, because each needs the others. The port learns a cycle late that a beat has
            # left, and offers a burst to the bus in the cycle after it has found that it fits.
            held = queue.level + owed + unissued
            known = signals[f"reserved_{number}"]
            asks = signals["asks"][number]
            self.prove(
                _FITS.format(number),
                (known == held + self.register(leaves))
                & (known <= READ_QUEUE)
                & (~asks | (splitter.bursts.valid & (known + beats <= READ_QUEUE)))
                & (~begins[number] | asks)
                & (~asked | (axi.arlen < BURST))
                & (~splitter.bursts.valid | ((beats != 0) & (beats <= BURST)))
                & (~queue.r_rdy | (queue.level != 0)),
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
            if number < _SOON_SERVED:
                progress(
                    self,
                    f"{client}: its burst is begun soon, whatever the others ask for",
                    favourable=splitter.bursts.valid & room & axi.arready & ~halt,
                    event=begins[number],
                    cycles=6,
                    given=[_FITS.format(each) for each in range(number + 1)],
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
            _OPEN,
            (signals["under_way"] == sum(open_bursts))
            & Cat(well_formed).all()
            & (~axi.arvalid | (axi.arid < _CLIENTS)),
            given=[_FITS.format(number) for number in range(_CLIENTS)],
        )
        self.prove(
            "an idle port has no burst open, and no beat is owed",
            ~dut.idle | ~(Cat(open_bursts).any() | Cat(answers).any() | axi.arvalid),
            given=[_OPEN],
        )
        self.cover("a burst has arrived", axi.rvalid & axi.rlast)


class ReadArbitrationHarness(Harness):
    """Read port with its splitters: how long the client waits that is served last.

    With any bursts it could wait for ever: three clients whose bursts are short can have the bus to
    themselves. A splitter cuts requests into bursts that are long, but for the first and the last,
    and it takes four cycles from a request's last burst to the next request's first.
    """

    component = "ReadPort, with its splitters"
    sizes = f"as built: {_CLIENTS} clients, bursts of {BURST} beats, any requests and any window"
    depth = _LONGEST_WAIT + 4
    defects = (
        Defect(
            module=_MODULE,
            old="fits = reserved + bursts.payload.beats <= READ_QUEUE",
            new="fits = reserved >= 0",
            breaks=_LAST_SERVED,
        ),
    )

    def build(self) -> None:
        m = self.m
        module = self.source(_MODULE)
        splitters = self.stand_in(module, "_Splitter", module._Splitter)
        queues = self.stand_in(module, "memory_queue", AnyQueue)
        signals = self.named_signals(module)
        dut = module.ReadPort(TINY, _CLIENTS)
        m.submodules.dut = Fragment.get(dut, None)
        axi = dut.axi
        for name in ("arready", "rid", "rresp", "rvalid", "rlast"):
            self.drive(getattr(axi, name), name)
        halt = self.drive(dut.halt, "halt")
        # The window changes in a reset alone.
        window = Signal.like(Value.cast(dut.window), reset_less=True)
        with m.If(self.reset):
            m.d.sync += window.eq(self.free(len(window), "window"))
        m.d.comb += dut.window.eq(window)
        for number, queue in enumerate(queues):
            queue.choose(self, f"queue_{number}")
            self.drive(dut.requests[number].valid, f"requests_{number}_valid")
            self.drive(dut.requests[number].payload, f"requests_{number}_payload")
            self.drive(dut.words[number].ready, f"words_{number}_ready")
        burst = splitters[-1].bursts
        known = signals[f"reserved_{_CLIENTS - 1}"]
        progress(
            self,
            _LAST_SERVED,
            favourable=burst.valid
            & (known + burst.payload.beats <= READ_QUEUE)
            & axi.arready
            & ~halt,
            event=burst.valid & burst.ready,
            cycles=_LONGEST_WAIT,
        )
        self.cover("the last client's burst is begun", burst.valid & burst.ready)
