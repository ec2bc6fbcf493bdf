"""Blocks of the ECP5 that Yosys does not use by itself, or not as they are meant."""

from amaranth import ClockSignal, Const, Instance, Value

from hw.lib.multiplier import Multiplier

__all__ = ["Ecp5"]


class Ecp5:
    """What the core is elaborated for; see `MultiplierPlatform` and `FlipFlopPlatform`."""

    def flip_flop(self, d: Value, q: Value) -> Instance:
        """One TRELLIS_FF as Yosys makes them, but not one that it knows."""
        return Instance(
            "TRELLIS_FF",
            p_GSR="DISABLED",
            p_CEMUX="1",
            p_CLKMUX="CLK",
            p_LSRMUX="LSR",
            p_REGSET="RESET",
            p_SRMODE="LSR_OVER_CE",
            i_CLK=ClockSignal(),
            i_LSR=Const(0),
            i_DI=d,
            o_Q=q,
        )

    def multiply(self, multiplier: Multiplier) -> Instance:
        """One MULT18X18D (Lattice, ECP5 sysDSP usage guide), factors and product registered."""
        bits = Multiplier.MOST_BITS
        held = "CLK0" if multiplier.holds_factors else "NONE"
        ports: dict[str, Value] = {
            "i_CLK0": ClockSignal(),
            "i_CE0": multiplier.enable,
            "i_RST0": Const(0),
        }
        # Factors lie at the upper end, with zeros below: no sign has to be brought to many pins.
        below = 0
        for name, factor in (("A", multiplier.a), ("B", multiplier.b)):
            zeros = bits - len(factor)
            below += zeros
            ports |= {f"i_{name}{bit}": Const(0) for bit in range(zeros)}
            ports |= {f"i_{name}{zeros + bit}": wire for bit, wire in enumerate(factor)}
            is_signed = Const(factor.shape().signed)
            ports |= {f"i_SIGNED{name}": is_signed, f"i_SOURCE{name}": Const(0)}
        ports |= {f"o_P{below + bit}": wire for bit, wire in enumerate(multiplier.product)}
        return Instance(
            "MULT18X18D",
            p_REG_INPUTA_CLK=held,
            p_REG_INPUTB_CLK=held,
            p_REG_OUTPUT_CLK="CLK0",
            p_GSR="DISABLED",
            p_RESETMODE="SYNC",
            **ports,
        )
