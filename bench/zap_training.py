"""Measures the cost of training the ZAPs of all layers, in forward passes of the frozen network.

    python -m bench.zap_training BUNDLE --dataset NAME --data DIR [--pattern B]

Times the network alone, and the network while all of its ZAPs learn, by turns on the same images
and batches. The cost is the time that learning adds, divided by the time of the network alone, each
from the fastest run.
"""

from __future__ import annotations

import golden.command  # noqa: F401

from pathlib import Path
from time import process_time

from golden.arguments import Parser, positive
from golden.bundle import Bundle
from golden.errors import run_cli
from golden.network import Network, quantise_images
from golden.pattern import Pattern
from golden.terminal import Console
from golden.zap_sites import zap_sites
from quant.data.images import ImageSet
from quant.pipeline.bundle_images import add_image_options, images_of
from quant.runtime.outputs import check_outputs, write_json
from quant.zap.predictor import Site
from quant.zap.training import BATCH, train_zaps

__all__ = ["main"]


def main() -> None:
    parser = Parser(prog="python -m bench.zap_training", description=__doc__)
    parser.add_argument("bundle", type=Path)
    add_image_options(parser)
    parser.add_argument("--pattern", nargs="+", default=["B"], help="all learn in one pass")
    parser.add_argument("--images", type=positive, default=512)
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    args = parser.parse_args()
    check_outputs(args.json)
    bundle = Bundle.load(args.bundle)
    patterns = [Pattern.parse(text) for text in args.pattern]
    image_set = images_of(bundle, args).dataset.train.first(args.images)
    everywhere = [
        Site(node.name, pattern) for node in zap_sites(bundle.manifest) for pattern in patterns
    ]
    alone, learning = [], []
    for _ in range(args.repeats):
        alone.append(_forward(bundle, image_set))
        start = process_time()
        train_zaps(bundle, everywhere, image_set, epochs=1, seed=0)
        learning.append(process_time() - start)
    figures = {
        "network": bundle.manifest.name,
        "patterns": args.pattern,
        "images": len(image_set),
        "forward_seconds": min(alone),
        "learning_seconds": min(learning),
        "forward_passes": min(learning) / min(alone) - 1,
    }
    Console().print(
        f"{bundle.manifest.name}, {len(image_set)} images, {len(everywhere)} ZAPs: "
        f"{min(alone):.2f} s without, {min(learning):.2f} s with; "
        f"they cost {figures['forward_passes']:.2f} forward passes"
    )
    if args.json is not None:
        write_json(args.json, figures)


def _forward(bundle: Bundle, image_set: ImageSet) -> float:
    """Time the frozen network alone, as `train_zaps` runs it; return processor seconds."""
    start = process_time()
    for pixels, _ in image_set.batches(BATCH):
        for _ in Network(bundle).steps(quantise_images(bundle, pixels)):
            pass
    return process_time() - start


if __name__ == "__main__":
    run_cli(main)
