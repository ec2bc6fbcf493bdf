"""What the tests of the hardware share: a small configuration."""

from hw.config import Config

TINY = Config(
    name="tiny",
    pes=2,
    lanes=8,
    group=4,
    ifm_words=512,
    weight_words=256,
    ofm_words=128,
    row_pixels=32,
    survivors=16,
)
