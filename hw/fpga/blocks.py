"""Blocks of the ECP5 that Yosys does not use by itself, or not in the way that the core needs."""

from amaranth import ClockSignal, Const, Instance, Value

from hw.lib.multiplier import Multiplier

__all__ = ["Ecp5"]


class Ecp5:
    """Platform for which the core is elaborated: `MultiplierPlatform` and `FlipFlopPlatform`."""

    def flip_flop(self, d: Value, q: Value) -> Instance:
        """One TRELLIS_FF, as Yosys makes them; Yosys does not merge or move an instance."""
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
        """One MULT18X18D (Lattice, ECP5 sysDSP usage guide) with its registers."""
        bits = Multiplier.MOST_BITS
        held = "CLK0" if multiplier.holds_factors else "NONE"
        ports: dict[str, Value] = {
            "i_CLK0": ClockSignal(),
            "i_CE0": multiplier.enable,
            "i_RST0": Const(0),
        }
        # A factor is at the upper end of its input, with zeros below. So its sign bit drives one
        # pin, and needs no extension.
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
