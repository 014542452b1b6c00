"""Every operation once, in plain `xp` code that reads like the book; the faster versions are proven equal to it."""

from xpcnn.ops.reference.activation import *
from xpcnn.ops.reference.affine import *
from xpcnn.ops.reference.convolution import *
from xpcnn.ops.reference.loss import *
from xpcnn.ops.reference.normalization import *
from xpcnn.ops.reference.pooling import *
