"""Harness: a component, an environment that may do anything allowed, and what must hold.

Everything that the environment chooses is an input of the harness that may have any value in any
cycle. What the environment never does is excluded by assumptions. A property holds if no history
that keeps all assumptions leads to a cycle in which its condition is false.

The reset is such an input too. So a property that is proved holds after a reset in any cycle, with
whatever the registers without a reset, and the memories, hold then.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast
from unittest import mock

from amaranth.hdl import (
    ClockDomain,
    Elaboratable,
    Module,
    Mux,
    ResetSignal,
    ShapeLike,
    Signal,
    Value,
    ValueLike,
)
from amaranth.lib import memory

__all__ = [
    "Defect",
    "Harness",
    "ObservedMemory",
    "elaborated",
    "in_state",
    "items_keep_their_order",
    "progress",
    "stream_is_stable",
]


@dataclass(frozen=True, kw_only=True)
class Defect:
    """A change of a module's text that breaks a property.

    Parameters
    ----------
    module : str
        Name of the module, which the harness takes its component from.
    old, new : str
        The text that is replaced, which occurs once, and what it is replaced by.
    breaks : str
        Name of the property.
    """

    module: str
    old: str
    new: str
    breaks: str


class Harness(Elaboratable):
    """A component under proof; a subclass gives `build`.

    Class attributes
    ----------------
    component : str
        The component's name in the table.
    sizes : str
        The sizes that the proof is for.
    defects : tuple of Defect
        At least one; each must make its property fail.
    depth : int
        Cycles of the hypothesis where a property is proved by induction.
    slow : set of str
        Properties whose proofs take minutes; they are left to the long form.
    bounded : {property: cycles}
        Properties that are not proved, and the length of the histories that are looked at instead.
    constants : {module: {name: value}}
        Constants of modules that are smaller in the proof than in the product.
    """

    component: str
    sizes: str
    defects: tuple[Defect, ...]
    depth: int = 4
    slow: frozenset[str] = frozenset()
    bounded: dict[str, int] = {}  # noqa: RUF012 - never changed
    constants: dict[str, dict[str, int]] = {}  # noqa: RUF012 - never changed

    def __init__(self, defect: Defect | None = None) -> None:
        self._defect = defect
        self.m = Module()
        self.inputs: dict[str, Signal] = {}
        self.properties: dict[str, Signal] = {}
        """Each is high in a cycle in which the property of this name is violated."""
        self.given: dict[str, list[str]] = {}
        """Each property's earlier ones that its proof takes for granted."""
        self.covers: dict[str, Signal] = {}
        """Each is high in a cycle in which the event of this name happens."""
        self._violations: dict[str, Value] = {}
        self._conditions: list[tuple[Signal, Value]] = []
        self._assumptions: list[Value] = []
        self.reset = self.free(1, "reset")
        domain: Any = ClockDomain("sync")  # the stubs know no `clk`
        self.m.domains.sync = domain
        self.clock: Signal = domain.clk
        self.m.d.comb += ResetSignal().eq(self.reset)
        with ExitStack() as self._patches:
            self.build()
        self._conclude()

    def build(self) -> None:
        """Adds the component, its environment and the properties to `self.m`."""
        raise NotImplementedError

    def elaborate(self, platform: object) -> Module:
        return self.m

    def source(self, module: str) -> Any:
        """The module of this name, with the defect if it is one of this module."""
        if self._defect is None or self._defect.module != module:
            return importlib.import_module(module)
        copy = _with_defect(self._defect)
        vars(copy).update(self.constants.get(module, {}))
        return copy

    def stand_in(self, module: Any, name: str, part: Callable[..., Any]) -> list[Any]:
        """Let a part of a component be made by `part`; returns those made, in a list.

        The component is to be elaborated by `Fragment.get` at once, while the part is in place.
        """
        made: list[Any] = []

        def make(*arguments: Any, **options: Any) -> Any:
            made.append(part(*arguments, **options))
            return made[-1]

        self._patches.enter_context(mock.patch.object(module, name, make))
        return made

    def observed_memories(self, module: Any) -> list[ObservedMemory]:
        """Returns a list that will have the memories that a module's components make.

        Invariants may speak of what they hold; as `stand_in`, it holds until the component is
        elaborated.
        """
        namespace = SimpleNamespace(Memory=None)
        self._patches.enter_context(mock.patch.object(module, "memory", namespace))
        return self.stand_in(namespace, "Memory", ObservedMemory)

    def named_signals(self, module: Any) -> dict[str, Any]:
        """Returns a dict that will have the named signals that a module's components make.

        Invariants may speak of them; as `stand_in`, it holds until the component is elaborated.
        """
        named: dict[str, Any] = {}
        signal = module.Signal

        def recorded(constructor: Any) -> Any:
            def make(*arguments: Any, **options: Any) -> Any:
                options["src_loc_at"] = options.get("src_loc_at", 0) + 1
                made = constructor(*arguments, **options)
                named[Value.cast(made).name] = made  # type: ignore[attr-defined]
                return made

            return make

        make = recorded(signal)
        make.like = recorded(signal.like)
        self._patches.enter_context(mock.patch.object(module, "Signal", make))
        return named

    def flag(self, condition: ValueLike, name: str, *, reset_less: bool = False) -> Signal:
        """A signal that says that the condition has been met in an earlier cycle."""
        flag = Signal(name=name, reset_less=reset_less)
        with self.m.If(condition):
            self.m.d.sync += flag.eq(1)
        return flag

    @classmethod
    @contextmanager
    def in_its_sizes(cls) -> Iterator[None]:
        """Put the constants in place while a harness is built and converted."""
        with ExitStack() as stack:
            for module, values in cls.constants.items():
                stack.enter_context(mock.patch.multiple(module, **cast(dict[str, Any], values)))
            yield

    def free(self, shape: ShapeLike, name: str) -> Any:
        """A signal that may have any value in any cycle."""
        signal: Any = Signal(shape, name=name)
        value = Value.cast(signal)
        assert isinstance(value, Signal)
        assert name not in self.inputs, name
        self.inputs[name] = value
        return signal

    def drive(self, port: Any, name: str) -> Any:
        """Let the environment choose a component's input in every cycle; returns the input."""
        self.m.d.comb += Value.cast(port).eq(self.free(Value.cast(port).shape(), name))
        return port

    def assume(self, condition: ValueLike) -> None:
        """The environment keeps this condition in every cycle."""
        self._assumptions.append(Value.cast(condition).bool())

    def prove(self, name: str, condition: ValueLike, *, given: Iterable[str] = ()) -> None:
        """The condition must hold in every cycle.

        `given` names properties that the proof may take for granted. They are proved without this
        one, because only earlier ones can be named.
        """
        assert name not in self.properties, name
        self.given[name] = list(given)
        violated = ~_flag(condition)
        for earlier in self.given[name]:
            now = self._violations[earlier]
            # It holds at all times, before a reset too.
            violated &= ~self.flag(now, "broken", reset_less=True) & ~now
        self._violations[name] = ~_flag(condition)
        self.properties[name] = self._observe(f"bad_{len(self.properties)}", violated)

    def cover(self, name: str, condition: ValueLike) -> None:
        """The condition must be met in some cycle of some history."""
        self.covers[name] = self._observe(f"cover_{len(self.covers)}", _flag(condition))

    def register(self, value: ValueLike, *, init: int = 0, name: str = "past") -> Signal:
        """The value a cycle before; `init` in the first cycle after a reset."""
        cast = Value.cast(value)
        # The stubs of Amaranth still call `init` `reset`.
        past = Signal(cast.shape(), init=init, name=name)  # type: ignore[call-arg]
        self.m.d.sync += past.eq(cast)
        return past

    def _observe(self, name: str, condition: Value) -> Signal:
        signal = Signal(name=name)
        self._conditions.append((signal, condition))
        return signal

    def _conclude(self) -> None:
        """Drives the outputs: what happens after a broken assumption does not count."""
        kept = Signal(init=1, reset_less=True, name="kept")  # type: ignore[call-arg]
        now = Signal(name="assumptions_hold")
        self.m.d.comb += now.eq(kept & Value.cast(all_of(self._assumptions)))
        self.m.d.sync += kept.eq(now)
        for signal, condition in self._conditions:
            self.m.d.comb += signal.eq(now & condition)


class ObservedMemory(memory.Memory):
    """A memory with one more read port, by which a harness sees what it holds.

    Attributes
    ----------
    observes : ReadPort
        It reads in the same cycle.
    writes : list of WritePort
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.observes: Any = self.read_port(domain="comb")
        self.writes: list[Any] = []

    def write_port(self, **options: Any) -> Any:
        """A write port, which is kept in `writes` too."""
        self.writes.append(super().write_port(**options))
        return self.writes[-1]


def all_of(conditions: list[Value]) -> ValueLike:
    """All conditions hold."""
    result: ValueLike = 1
    for condition in conditions:
        result = condition & result
    return result


def _flag(condition: ValueLike) -> Value:
    """One bit, so that its complement is one bit too."""
    return Value.cast(condition).bool()


def elaborated(component: Any) -> Module:
    """The module that a component is made of; it is elaborated once, here.

    Invariants may speak of the state of its state machine (`in_state`).
    """
    module = component.elaborate(None)
    component.elaborate = lambda platform: module
    return cast(Module, module)


def in_state(module: Module, name: str) -> Value:
    """Say whether the state machine of a module is in the state of this name."""
    machine = vars(module)["_generated"]["fsm"]
    return cast(Value, machine.state == machine.encoding[name])


def stream_is_stable(
    harness: Harness, name: str, valid: Value, ready: Value, *payload: Any
) -> None:
    """Prove that what is offered stays offered, unchanged, until it is taken."""
    waits = harness.register(valid & ~ready)
    unchanged: Value = valid
    for part in payload:
        part = Value.cast(part)
        unchanged &= harness.register(part) == part
    harness.prove(name, ~waits | unchanged)


def items_keep_their_order(
    harness: Harness,
    *,
    enters: Value,
    item: ValueLike,
    leaving: ValueLike,
    places: list[Value],
    capacity: int,
    at_once: bool = False,
) -> Signal:
    """Prove that every item that enters leaves once, unchanged and in order.

    The environment picks one item, any of them, and that one is followed: `ahead` counts the items
    in front of it.

    Parameters
    ----------
    enters, item
        An item enters in this cycle, and which.
    leaving, places
        The number of items that leave in this cycle, and those, the first one first.
    capacity : int
        Most items that may be inside.
    at_once : bool
        An item may leave in the cycle in which it enters.

    Returns
    -------
    inside : Signal
        Items that have entered and not left.
    """
    m = harness.m
    value = Value.cast(item)
    inside = Signal(range(capacity + len(places) + 2), name="inside")
    followed, ahead = Signal(name="followed"), Signal.like(inside, name="ahead")
    kept = Signal.like(value, name="followed_item")
    picks = harness.free(1, "picks")
    present, position, expected = Signal(), Signal.like(inside), Signal.like(value)
    m.d.comb += [
        present.eq(followed | (enters & picks)),
        position.eq(Mux(followed, ahead, inside)),
        expected.eq(Mux(followed, kept, value)),
    ]
    leaves = present & (position < leaving)
    m.d.sync += [
        inside.eq(inside + enters - leaving),
        followed.eq(present & ~leaves),
        ahead.eq(position - leaving),
        kept.eq(expected),
    ]
    harness.prove("no item leaves that has not entered", leaving <= inside + (enters & at_once))
    harness.prove("no more items are inside than fit", inside <= capacity)
    matches: Value = leaves & False
    for place, out in enumerate(places):
        matches |= (position == place) & (expected == out)
    harness.prove("every item leaves once, unchanged and in order", ~leaves | matches)
    harness.cover("a followed item leaves", leaves)
    return inside


def progress(
    harness: Harness,
    name: str,
    *,
    favourable: Value,
    event: Value,
    cycles: int,
    given: Iterable[str] = (),
) -> None:
    """Prove that the event happens within `cycles` cycles in which conditions are favourable.

    They begin at any moment of any history. So what went before cannot have brought the component
    to a state from which it does not come on.
    """
    waited = Signal(range(cycles + 1), name="waited")
    harness.m.d.sync += waited.eq(Mux(favourable & ~event, waited + (waited != cycles), 0))
    harness.prove(name, waited != cycles, given=given)


def _with_defect(defect: Defect) -> ModuleType:
    """A copy of the defect's module, changed."""
    specification = importlib.util.find_spec(defect.module)
    assert specification is not None
    assert specification.origin is not None
    text = Path(specification.origin).read_text()
    assert text.count(defect.old) == 1, f"{defect.module}: {defect.old!r} does not occur once"
    copy = importlib.util.module_from_spec(specification)
    exec(compile(text.replace(defect.old, defect.new), specification.origin, "exec"), copy.__dict__)
    return copy
