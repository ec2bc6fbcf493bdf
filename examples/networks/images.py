"""Writes images without labels, for networks whose data are not at hand.

    python -m examples.networks.images --size 64x64 --out build/textures-64.npz

They are noise whose power falls with frequency, as in photographs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from golden.arguments import Parser, positive
from golden.errors import UserError, run_cli
from golden.terminal import Console
from quant.data.textures import texture_images
from quant.runtime.options import parse_size

__all__: list[str] = []


def main() -> None:
    parser = Parser(prog="python -m examples.networks.images", description=__doc__.splitlines()[0])
    parser.add_argument("--size", metavar="N|HxW", required=True, help="height and width")
    parser.add_argument("--channels", type=int, choices=(1, 3), default=3)
    parser.add_argument("--n", type=positive, default=24, help="how many images")
    parser.add_argument("--out", type=Path, metavar="FILE.npz", required=True)
    arguments = parser.parse_args()
    if arguments.out.suffix != ".npz":
        raise UserError(f"--out {arguments.out}: must end in .npz")
    images = texture_images(arguments.n, parse_size(arguments.size), arguments.channels)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(arguments.out, images=images.permute(0, 2, 3, 1).numpy())
    Console().print(f"wrote {arguments.out}")


if __name__ == "__main__":
    run_cli(main)
