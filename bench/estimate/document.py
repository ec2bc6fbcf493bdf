"""The estimate as JSON, for other programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bench.estimate.page import CoreEstimate, Estimate

__all__ = ["VERSION", "document"]

VERSION = 1


def document(estimate: Estimate) -> dict[str, Any]:
    """Return the whole estimate: cycles are of one image, traffic in bytes, clocks in MHz."""
    return {
        "version": VERSION,
        "network": estimate.network,
        "image": list(estimate.image),
        "macs": estimate.macs,
        "weights": estimate.weights,
        "pattern": str(estimate.pattern),
        "shares": list(estimate.shares),
        "cores": [_core(core) for core in estimate.cores],
    }


def _core(core: CoreEstimate) -> dict[str, Any]:
    speed = core.speed
    return {
        "config": core.fit.config.to_dict(),
        "fits": core.fit.fits,
        "in_the_way": [
            {
                "layer": shortage.layer,
                "parameter": shortage.demand.field,
                "needs": shortage.demand.need,
                "has": shortage.demand.have,
                "would_do": shortage.enough,
                "for_zap": shortage.zap,
            }
            for shortage in core.fit.shortages
        ],
        "refused": core.fit.refusals,
        "estimated_on": speed.config.to_dict(),
        "parts": {name: asdict(part) for name, part in core.parts.items()},
        "clock_mhz": speed.clock_mhz,
        "clock_measured_on": None if speed.build is None else speed.build.device,
        "program_bytes": speed.program,
        "scratch_bytes": speed.scratch,
        "traffic_bytes": speed.traffic,
        "cycles": speed.cycles,
        "images_a_second": speed.images_a_second(speed.cycles) if speed.layers else None,
        "utilisation": speed.utilisation if speed.layers else None,
        "zap": [
            {
                "share": share,
                "cycles": zap.cycles,
                "images_a_second": speed.images_a_second(zap.cycles),
                "layers": zap.layers,
            }
            for share, zap in speed.zap.items()
            if speed.layers
        ],
        "slowed_by_zap": speed.slowed,
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "ifm": list(layer.ifm),
                "ofm": list(layer.ofm),
                "macs": layer.macs,
                "cycles": layer.cycles,
                "busy": layer.busy,
                "traffic_bytes": layer.traffic,
                "most_skipped": layer.most_skipped,
                "zap": [{"share": share, "cycles": on} for share, on in layer.zap.items()],
            }
            for layer in speed.layers
        ],
    }
