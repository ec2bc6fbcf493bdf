"""Outputs of state machines that are defined from the first cycle on in every simulator."""

from typing import Protocol

from amaranth import Value

__all__ = ["StateMachine", "in_state"]


class StateMachine(Protocol):
    """An Amaranth state machine, as `with m.FSM() as fsm` gives it."""

    def ongoing(self, name: str) -> Value:
        """High while the state machine is in the state `name`."""


def in_state(fsm: StateMachine, name: str) -> Value:
    """High while the state machine is in the state `name`.

    Drive an output that depends on the state alone from this value, outside `m.State`. The output
    becomes a continuous assignment in Verilog. Driven inside `m.State` it would become a process
    that is sensitive to the state alone; Icarus Verilog runs such a process only when the state
    changes, and leaves its outputs undefined until then.
    """
    return fsm.ongoing(name)
