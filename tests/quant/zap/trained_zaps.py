"""The images and sites of the predictors that several tests share; `conftest` trains them once."""

from golden.pattern import MASKS, Pattern
from quant.zap.predictor import Site
from tests.quant.tiny_networks import images

IMAGES = images(256)
SITES = [
    Site("conv2", MASKS["B"]),
    Site("conv3", MASKS["B"]),
    Site("conv4", MASKS["B"]),
    Site("conv2", Pattern.parse("4:0100")),
]
