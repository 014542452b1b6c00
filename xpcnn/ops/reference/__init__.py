"""Every operation once, in plain `xp` code that reads like the book; the faster versions are proven equal to it."""

from xpcnn.ops.reference.activation import *
from xpcnn.ops.reference.activation_pieces import *
from xpcnn.ops.reference.activation_smooth import *
from xpcnn.ops.reference.affine import *
from xpcnn.ops.reference.broadcasting import *
from xpcnn.ops.reference.convolution import *
from xpcnn.ops.reference.convolution_nd import *
from xpcnn.ops.reference.elementwise import *
from xpcnn.ops.reference.loss import *
from xpcnn.ops.reference.loss_more import *
from xpcnn.ops.reference.matmul import *
from xpcnn.ops.reference.normalization import *
from xpcnn.ops.reference.normalization_groups import *
from xpcnn.ops.reference.pooling import *
from xpcnn.ops.reference.pooling_global import *
from xpcnn.ops.reference.pooling_nd import *
from xpcnn.ops.reference.rearrange import *
from xpcnn.ops.reference.reduction import *
from xpcnn.ops.reference.resize import *
from xpcnn.ops.reference.taking import *
from xpcnn.ops.reference.transposed import *
