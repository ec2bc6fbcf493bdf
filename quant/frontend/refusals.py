"""Reasons for which an operation cannot be lowered, in words that every front end shares."""

from golden.errors import UserError

__all__ = [
    "CONSTANT_NUMERATOR",
    "CONSTANT_OPERAND",
    "DILATED_POOL",
    "DIVISOR",
    "NORM_OF_IMAGE",
    "NOT_FLATTENED",
    "NO_COUNTERPART",
    "NO_ELEMENTS",
    "NO_ZEROS",
    "OTHER_SIZE",
    "PADS_WITH_NUMBERS",
    "PRODUCT",
    "TRANSPOSE",
    "TWO_AXES_MEAN",
    "UPSAMPLING",
    "WHOLE_IMAGES",
    "refusal",
]

NO_COUNTERPART = "it has no counterpart in hardware"
NO_ZEROS = "its results are hardly ever exactly zero, so there are no zeros to skip; use ReLU"
NORM_OF_IMAGE = "its divisor is computed from each image, which has no hardware; use BatchNorm"
PRODUCT = "a product of two tensors (a gate or attention) has no hardware"
DIVISOR = "a quotient of two tensors (a gate or attention) has no hardware"
CONSTANT_NUMERATOR = "a constant divided by a tensor has no hardware"
CONSTANT_OPERAND = "one of its operands is a constant where a tensor is needed"
OTHER_SIZE = "its operands differ in size"
NO_ELEMENTS = "its result has no elements"
WHOLE_IMAGES = "only operations on each image by itself have hardware"
NOT_FLATTENED = "a linear layer needs a flattened input"
DILATED_POOL = "a dilated pooling has no hardware"
TRANSPOSE = "only a channel shuffle, and putting the channels of the images first, can transpose"
TWO_AXES_MEAN = "only a mean over height and width has hardware"
UPSAMPLING = "only nearest-neighbour upsampling by whole numbers has hardware"
PADS_WITH_NUMBERS = "only padding with zeros has hardware"


def refusal(where: str, reason: str) -> UserError:
    """An error that names the module or node that cannot be lowered, and why it cannot."""
    return UserError(f"{where}: cannot be lowered: {reason}")
