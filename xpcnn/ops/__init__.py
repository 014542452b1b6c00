"""Pure functions of arrays: what layers are made of."""

from xpcnn.ops import reference
from xpcnn.ops.gradcheck import check_gradient, numerical_gradient, relative_error
from xpcnn.ops.reference.convolution import col2im, im2col
from xpcnn.ops.reference.loss import log_softmax, softmax

__all__ = [
    "check_gradient",
    "col2im",
    "im2col",
    "log_softmax",
    "numerical_gradient",
    "reference",
    "relative_error",
    "softmax",
]
