"""Words of a tile's descriptor: the engine's fields, and the addresses of the tile's data.

Every address and distance in memory that a descriptor has is computed here from tensors' places.
"""

from __future__ import annotations

from compiler.lowering.layer_lowering import LoweredLayer, Tile
from compiler.lowering.strips import Strip
from compiler.memory_layout import Place
from golden.arithmetic import ceil_div
from golden.layers import Conv

__all__ = ["engine_words", "halo_bytes", "halo_words", "ifm_words", "ofm_words", "residual_words"]


def engine_words(tile: Tile) -> dict[str, int]:
    """The values of `hw.contract.program.engine_words`."""
    fields = {name: value for name, value in tile.fields.items() if name != "pool"}
    return {**fields, **{f"pool.{name}": value for name, value in tile.fields["pool"].items()}}


def ifm_words(layer: LoweredLayer, tile: Tile, ifm: Place) -> dict[str, int]:
    """The rows of the ifm that a tile loads, and their way into the buffer."""
    strip = tile.strip
    slices = layer.slices
    channels = slices.ifm_channels
    _, height, width = ifm.shape
    left, right = layer.conv.padding[2:]
    width += min(left, 0) + min(right, 0)
    loaded = [row for row in strip.load if 0 <= row < height]
    # Where nothing but padding is loaded, a core takes all of it as rows below.
    above = [row for row in strip.load if row < 0] if loaded else []
    pixel_words = ceil_div(channels, layer.config.lanes)
    words_a_row = layer.row_words // pixel_words
    # The last column, padding counted, of the patch in a row's last word.
    last_col = (words_a_row - 1 << layer.column_shift) + layer.patch[1] - 1
    return {
        "ifm_address": (
            ifm.address + (loaded or [0])[0] * ifm.row_bytes + max(-left, 0) * ifm.group
        ),
        "ifm_row": strip.ifm.step * ifm.row_bytes,
        "ifm_plane": ifm.plane_bytes,
        "ifm_height": len(loaded),
        "ifm_width": width,
        "ifm_channels": channels,
        "pad_top": len(above),
        "pad_bottom": len(strip.load) - len(above) - len(loaded),
        "pad_left": max(left, 0),
        "pad_right": max(last_col + 1 - max(left, 0) - width, 0),
        "ifm_first_word": tile.first_word % layer.config.ifm_words,
        "ifm_row_words": layer.row_words,
        "ifm_pixel_words": pixel_words,
        "ifm_col_shift": layer.column_shift,
        "pack_height": layer.patch[0],
        "pack_width": layer.patch[1],
        "pack_above": min(len(strip.ifm) - len(strip.load), layer.patch[0] - 1),
        "pack_newest": (layer.patch[1] - 1) * channels,
        "pack_apart": int(layer.rows_apart),
        "ifm_slice": 0 if slices.count == 1 else slices.planes * ifm.plane_bytes,
        "ifm_slots": layer.slots,
    }


def residual_words(
    conv: Conv, strip: Strip, residual: Place | None, row_bytes: int | None = None
) -> dict[str, int]:
    """The residual's pixels that are added in a strip's region.

    `row_bytes` is the distance of the residual's rows of two neighbouring rows of the region; None
    stands for that in one image.
    """
    if residual is None:
        names = ("address", "row", "plane", "first", "planes")
        return {**{f"residual_{name}": 0 for name in names}, "residual_stride": 1}
    shortcut = conv.shortcut
    assert shortcut is not None
    row = residual.row_bytes * shortcut.stride if row_bytes is None else row_bytes
    return {
        "residual_address": residual.address + strip.region.start * row,
        "residual_row": row,
        "residual_plane": residual.plane_bytes,
        "residual_first": shortcut.channel_offset // residual.group,
        "residual_planes": residual.planes,
        "residual_stride": shortcut.stride,
    }


def ofm_words(layer: LoweredLayer, strip: Strip, ofm: Place) -> dict[str, int]:
    """The place of the rows that a strip hands out."""
    return {
        "ofm_address": ofm.address + strip.pooled.start * ofm.row_bytes,
        "ofm_plane": ofm.plane_bytes,
        "ofm_words": len(strip.pooled) * layer.pooled_size[1],
    }


def halo_words(layer: LoweredLayer, address: int) -> dict[str, int]:
    """The place of the rows that strips share; no strip shares more than a plane holds."""
    pixels = max(tile.fields["spilled"] for tile in layer.tiles)
    return {"halo_address": address, "halo_plane": pixels * layer.config.group}


def halo_bytes(layer: LoweredLayer) -> int:
    """Bytes of scratch memory that those rows take."""
    planes = ceil_div(len(layer.conv.weight), layer.config.group)
    return planes * halo_words(layer, 0)["halo_plane"]
