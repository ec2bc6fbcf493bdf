"""Blocks of the ECP5 whose registers Yosys does not use by itself."""

from amaranth import Cat, ClockSignal, Const, Instance, Value

from hw.multiplier import Multiplier

__all__ = ["Ecp5"]


class Ecp5:
    """What the core is elaborated for; see `hw.multiplier.MultiplierPlatform`."""

    def multiply(self, multiplier: Multiplier) -> Instance:
        """One MULT18X18D (Lattice, ECP5 sysDSP usage guide), factors and product registered."""
        bits = Multiplier.MOST_BITS
        held = "CLK0" if multiplier.holds_factors else "NONE"
        ports: dict[str, Value] = {
            "i_CLK0": ClockSignal(),
            "i_CE0": multiplier.enable,
            "i_RST0": Const(0),
        }
        for name, factor in (("A", multiplier.a), ("B", multiplier.b)):
            is_signed = factor.shape().signed
            above = factor[-1] if is_signed else Const(0)
            extended = Cat(factor, above.replicate(bits - len(factor)))
            ports |= {f"i_{name}{bit}": extended[bit] for bit in range(bits)}
            ports |= {f"i_SIGNED{name}": Const(is_signed), f"i_SOURCE{name}": Const(0)}
        ports |= {f"o_P{bit}": wire for bit, wire in enumerate(multiplier.product)}
        return Instance(
            "MULT18X18D",
            p_REG_INPUTA_CLK=held,
            p_REG_INPUTB_CLK=held,
            p_REG_OUTPUT_CLK="CLK0",
            p_GSR="DISABLED",
            p_RESETMODE="SYNC",
            **ports,
        )
