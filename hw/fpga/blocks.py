"""Blocks of FPGAs that tools do not use by themselves, or not in the way that the core needs."""

from amaranth import Cat, ClockSignal, Const, Instance, Module, Signal, Value

from hw.lib.multiplier import Multiplier, MultiplierPair

__all__ = ["Amd", "Ecp5"]


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


class Amd:
    """Platform for which the core is elaborated: `MultiplierPairPlatform`.

    AMD's parts of the series 7; Vivado takes the same block on UltraScale.
    """

    def multiply_pair(self, pair: MultiplierPair) -> Module:
        """One DSP48E1 (AMD UG479) that multiplies two activations by one weight.

        Its pre-adder puts the second activation 16 bits above the first:
        (a1 * 2^16 + a0) * b = a1 * b * 2^16 + a0 * b. A negative lower product would borrow from
        the upper one. So the block adds 2^15, which makes the lower 16 bits a positive number, and
        inverting the highest of them takes 2^15 away again.
        """
        m = Module()
        bits = MultiplierPair.PRODUCT_BITS
        upper = Signal(30)
        lower = Signal(25)
        weight = Signal(18)
        result = Signal(48)
        m.d.comb += [
            upper.eq(Cat(Const(0, bits), pair.a[1]).as_signed()),
            lower.eq(pair.a[0]),
            weight.eq(pair.b),
            pair.product[0].eq(Cat(result[: bits - 1], ~result[bits - 1])),
            pair.product[1].eq(result[bits : 2 * bits]),
        ]
        m.submodules.dsp = Instance(
            "DSP48E1",
            p_USE_DPORT="TRUE",
            p_AREG=1,
            p_ACASCREG=1,
            p_BREG=1,
            p_BCASCREG=1,
            p_DREG=1,
            p_ADREG=0,
            p_CREG=0,
            p_MREG=0,
            p_PREG=1,
            p_INMODEREG=0,
            p_OPMODEREG=0,
            p_ALUMODEREG=0,
            p_CARRYINREG=0,
            p_CARRYINSELREG=0,
            i_CLK=ClockSignal(),
            i_A=upper,
            i_B=weight,
            i_C=Const(1 << bits - 1, 48),
            i_D=lower,
            i_INMODE=Const(0b00100, 5),  # (D + A) * B
            i_OPMODE=Const(0b011_01_01, 7),  # the product + C
            i_ALUMODE=Const(0, 4),
            i_CARRYIN=Const(0),
            i_CARRYINSEL=Const(0, 3),
            **{f"i_CE{name}": Const(name in ("A2", "B2", "D", "P")) for name in _ENABLES},
            **{f"i_RST{name}": Const(0) for name in _RESETS},
            **{f"i_{name}": Const(0, width) for name, width in _CASCADES.items()},
            o_P=result,
        )
        return m


_ENABLES = (
    *("A1", "A2", "AD", "ALUMODE", "B1", "B2", "C", "CARRYIN", "CTRL", "D", "INMODE", "M", "P"),
)
_RESETS = ("A", "ALLCARRYIN", "ALUMODE", "B", "C", "CTRL", "D", "INMODE", "M", "P")
_CASCADES = {"ACIN": 30, "BCIN": 18, "PCIN": 48, "CARRYCASCIN": 1, "MULTSIGNIN": 1}
