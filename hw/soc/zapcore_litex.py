"""zapcore as a LiteX module. This one file is all that a LiteX project needs to copy.

    from zapcore_litex import add_zapcore
    zapcore = add_zapcore(soc, "build/verilog/zapcore_small.v")

`make verilog` writes that file and, beside it, the JSON that this module reads the widths from. The
core's registers become a region of the bus, its memory port a port of the SDRAM controller, and its
interrupt an interrupt of the processor. Software that uses the SDRAM through a level-2 cache has to
flush it, because the core's port is behind that cache.
"""

import json
from pathlib import Path

from litedram.frontend.axi import LiteDRAMAXI2Native
from litex.gen import LiteXModule
from litex.soc.integration.soc import SoCRegion
from litex.soc.interconnect import axi
from litex.soc.interconnect.csr_eventmanager import EventManager, EventSourceLevel
from migen import ClockSignal, Instance, ResetSignal, Signal

__all__ = ["Zapcore", "add_zapcore"]

_PAGE = 4096
_ADDRESS = (
    *("addr", "len", "size", "burst", "lock", "cache", "prot", "qos", "region", "id"),
    *("valid", "ready"),
)
_CHANNELS = {
    "m_axi": {
        "ar": _ADDRESS,
        "r": ("id", "data", "resp", "last", "valid", "ready"),
        "aw": _ADDRESS,
        "w": ("data", "strb", "last", "valid", "ready"),
        "b": ("id", "resp", "valid", "ready"),
    },
    "s_axil": {
        "ar": ("addr", "prot", "valid", "ready"),
        "r": ("data", "resp", "valid", "ready"),
        "aw": ("addr", "prot", "valid", "ready"),
        "w": ("data", "strb", "valid", "ready"),
        "b": ("resp", "valid", "ready"),
    },
}


class Zapcore(LiteXModule):
    """The core with its two buses and its interrupt.

    Attributes
    ----------
    registers : AXILiteInterface
        The page of registers; a subordinate.
    memory : AXIInterface
        A manager.
    ev : EventManager
        Its event `done` is high while the core's interrupt is.
    """

    def __init__(self, platform, verilog):
        verilog = Path(verilog)
        about = json.loads(verilog.with_suffix(".json").read_text())
        config = about["config"]
        directions = {port["name"]: port["direction"] for port in about["ports"]}
        self.registers = axi.AXILiteInterface(data_width=32, address_width=32)
        self.memory = axi.AXIInterface(
            data_width=config["bus_bits"], address_width=config["address_bits"], id_width=2
        )
        self.irq = Signal()
        self.ev = EventManager()
        self.ev.done = EventSourceLevel()
        self.ev.finalize()
        self.comb += self.ev.done.trigger.eq(self.irq)
        ports = {"i_clk": ClockSignal(), "i_rst": ResetSignal(), "o_irq": self.irq}
        for prefix, bus in (("m_axi", self.memory), ("s_axil", self.registers)):
            for channel, names in _CHANNELS[prefix].items():
                for name in names:
                    port = f"{prefix}_{channel}{name}"
                    signal = getattr(getattr(bus, channel), name, None)
                    if signal is None:  # AXI4-Lite interfaces of LiteX have no protection bits
                        signal = Signal(3)
                    if port in ("s_axil_araddr", "s_axil_awaddr"):
                        signal = signal[: _PAGE.bit_length() - 1]
                    ports[f"{directions[port][0]}_{port}"] = signal
        self.specials += Instance(about["module"], **ports)
        platform.add_source(str(verilog.resolve()))


def add_zapcore(soc, verilog, *, name="zapcore", origin=None):
    """Add a core to a SoC that has an SDRAM; returns the module.

    The window's addresses are those that the processor uses for the SDRAM. Software finds the
    registers at `ZAPCORE_REGISTERS_BASE`.

    Parameters
    ----------
    soc : litex.soc.integration.soc.SoC
        Its SDRAM was added before, by `add_sdram`.
    verilog : path
        The core, from `make verilog`.
    origin : int or None
        Address of the registers; None for any free one.
    """
    zapcore = Zapcore(soc.platform, verilog)
    setattr(soc, name, zapcore)
    region = SoCRegion(origin=origin, size=_PAGE, cached=False)
    soc.bus.add_slave(name=f"{name}_registers", slave=zapcore.registers, region=region)
    port = soc.sdram.crossbar.get_port(data_width=zapcore.memory.data_width)
    soc.submodules += LiteDRAMAXI2Native(
        zapcore.memory, port, base_address=soc.bus.regions["main_ram"].origin
    )
    if soc.irq.enabled:
        soc.irq.add(name, use_loc_if_exists=True)
    return zapcore
