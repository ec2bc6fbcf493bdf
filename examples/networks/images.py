"""Writes images for networks whose data are not at hand: textures, or a folder of pictures.

    python -m examples.networks.images --size 64 --out build/textures-64.npz
    python -m examples.networks.images --size 227 --pictures DIR --out build/pictures.npz

Textures are noise whose power falls with frequency, as in photographs; they have no labels. The
folder has `images/` and `labels.csv` with the columns `file` and `label`. Its pictures are scaled
to the size, whatever their shape. The first 300 are training images, and all are test images; with
--apart, only the others are.
"""

from __future__ import annotations

import golden.command  # noqa: F401

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image

from golden.arguments import Parser, positive
from golden.errors import UserError, run_cli
from golden.files import check_writable_file, write_file
from golden.terminal import Console
from quant.data.textures import texture_images
from quant.runtime.options import parse_size

__all__: list[str] = []

_TEXTURES = 24
_FITTED = 300
"""Pictures to fit with."""


def main() -> None:
    parser = Parser(prog="python -m examples.networks.images", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--size", metavar="N|HxW", required=True, help="height and width")
    add("--channels", type=positive, choices=(1, 3), default=3, help="of textures")
    add("--n", type=positive, metavar="N", help="how many images (default: 24, or all pictures)")
    add("--pictures", type=Path, metavar="DIR", help="a folder of pictures and labels.csv")
    add("--apart", action="store_true", help="no picture is for both, training and test")
    add("--out", type=Path, metavar="FILE.npz", required=True)
    arguments = parser.parse_args()
    if arguments.out.suffix != ".npz":
        raise UserError(f"--out {arguments.out}: must end in .npz")
    if arguments.apart and arguments.pictures is None:
        raise UserError("--apart is for --pictures")
    check_writable_file(arguments.out)
    size = parse_size(arguments.size)
    if arguments.pictures is None:
        images = texture_images(arguments.n or _TEXTURES, size, arguments.channels)
        arrays = {"images": images.permute(0, 2, 3, 1).numpy()}
    else:
        arrays = _pictures(arguments.pictures, size, arguments.n, apart=arguments.apart)
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    write_file(arguments.out, content.getvalue())
    Console().print(f"wrote {arguments.out}")


def _pictures(
    folder: Path, size: tuple[int, int], count: int | None, *, apart: bool
) -> dict[str, np.ndarray]:
    """Read pictures and their labels. Raises UserError that names a file that is not there."""
    height, width = size
    images, labels = [], []
    try:
        with (folder / "labels.csv").open(newline="") as stream:
            for row in list(csv.DictReader(stream))[:count]:
                with Image.open(folder / "images" / row["file"]) as picture:
                    scaled = picture.convert("RGB").resize(
                        (width, height), Image.Resampling.BILINEAR
                    )
                images.append(np.asarray(scaled))
                labels.append(int(row["label"]))
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{folder}: no pictures with labels can be read: {error}") from None
    whole, numbers = np.stack(images), np.array(labels)
    first = min(_FITTED, len(whole) // 2)
    tested = slice(first if apart else 0, None)
    return {
        "images": whole[:first], "labels": numbers[:first],
        "test_images": whole[tested], "test_labels": numbers[tested],
    }  # fmt: skip


if __name__ == "__main__":
    run_cli(main)
