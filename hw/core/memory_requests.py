"""Requests for memory in whole runs: a tile's records, its ofm and its halo rows."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.contract.config import Config
from hw.contract.records import record_words
from hw.core.axi import Request
from hw.layouts.descriptor import TileDescriptor

__all__ = ["HaloRequests", "OfmRequests", "RecordRequests"]


class _TileRequests(wiring.Component):
    """Sends the requests of one tile.

    Members
    -------
    tile : In(TileDescriptor)
        Stable from `start` until the last request has left.
    start : In(1)
    requests : Out(stream of Request)
    """

    tile: data.View[TileDescriptor]
    start: Signal
    requests: stream.Interface

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "tile": In(TileDescriptor(config)),
                "start": In(1),
                "requests": Out(stream.Signature(Request())),
            }
        )


class RecordRequests(_TileRequests):
    """Requests for the `ChannelRecord` and the weights of each channel, one after the other.

    They lie apart in memory: operating points have records of their own and share the weights.
    """

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        tile = self.tile
        lanes = ceil_log2(config.lanes)
        beats = ceil_log2(config.lanes // config.bus_bytes)
        record = record_words(config)
        left = Signal.like(tile.channels)
        weights_next = Signal()
        parameters = Signal.like(tile.parameters)
        weights = Signal.like(tile.weights)
        request = self.requests.payload
        m.d.comb += [
            self.requests.valid.eq(left != 0),
            request.address.eq(Mux(weights_next, weights, parameters)),
            request.beats.eq(Mux(weights_next, tile.kernel_words, record) << beats),
        ]
        with m.If(self.requests.valid & self.requests.ready):
            m.d.sync += weights_next.eq(~weights_next)
            with m.If(weights_next):
                m.d.sync += [
                    weights.eq(weights + (tile.kernel_words << lanes)),
                    left.eq(left - 1),
                ]
            with m.Else():
                m.d.sync += parameters.eq(parameters + (record << lanes))
        with m.If(self.start):
            m.d.sync += [
                left.eq(tile.channels),
                weights_next.eq(0),
                parameters.eq(tile.parameters),
                weights.eq(tile.weights),
            ]
        return m


class _PlaneRequests(_TileRequests):
    """Requests for runs of words in each group of G channels; groups are a plane apart."""

    def _runs(self) -> list[tuple[Any, Value, Value]]:
        """First address, distance from a group to the next, and words of each run."""
        raise NotImplementedError

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        tile = self.tile
        runs = self._runs()
        sending = Signal()
        channel = Signal(len(tile.channels) + 1)
        number = Signal(range(max(len(runs), 2)))  # Verilog has no vector of no bits
        last = number == len(runs) - 1
        request = self.requests.payload
        m.d.comb += self.requests.valid.eq(sending)
        taken = self.requests.valid & self.requests.ready
        for run, (first, plane, words) in enumerate(runs):
            address = Signal.like(first, name=f"address_{run}")
            with m.If(number == run):
                m.d.comb += [
                    request.address.eq(address),
                    request.beats.eq(words * (config.group // config.bus_bytes)),
                ]
                with m.If(taken):
                    m.d.sync += address.eq(address + plane)
            with m.If(self.start):
                m.d.sync += address.eq(first)
        with m.If(taken):
            m.d.sync += number.eq(Mux(last, 0, number + 1))
            with m.If(last):
                following = channel + config.group
                m.d.sync += channel.eq(following)
                with m.If(following >= tile.channels):
                    m.d.sync += sending.eq(0)
        with m.If(self.start):
            m.d.sync += [sending.eq(1), channel.eq(0), number.eq(0)]
        return m


class OfmRequests(_PlaneRequests):
    """Requests to write the tile's part of the ofm, and the halo rows for the strip below."""

    def _runs(self) -> list[tuple[Any, Value, Value]]:
        tile = self.tile
        return [
            (tile.ofm_address, tile.ofm_plane, tile.ofm_words),
            (tile.halo_address, tile.halo_plane, tile.spilled),
        ]


class HaloRequests(_PlaneRequests):
    """Requests to read the halo rows that the strip above has written.

    The tile writes its own halo rows to the same addresses, group after group.
    """

    def _runs(self) -> list[tuple[Any, Value, Value]]:
        return [(self.tile.halo_address, self.tile.halo_plane, self.tile.restored)]
