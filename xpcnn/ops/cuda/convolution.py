"""Convolution of NCHW pictures: columns and cuBLAS, or a kernel that stores no columns, as `choose_way` says.

The product of all pictures at once, z = W @ columns, comes channel first, as (FN, N, OH, OW); bias, ReLU and pooling
(`fused`) read it so and write (N, FN, ...). On the way back they hand its gradient over in the same order.
"""

from __future__ import annotations

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ShapeError
from xpcnn.ops.cuda.columns import col2im_nchw, im2col_nchw
from xpcnn.ops.cuda.fused import bias_relu, bias_relu_backward
from xpcnn.ops.cuda.geometry import COLUMN_BUDGET, Conv, Way, choose_way, conv
from xpcnn.ops.cuda.module import launch, output
from xpcnn.ops.geometry import IntPair, PadLike

__all__ = ["conv2d_backward", "conv2d_forward", "conv2d_gradients", "conv2d_product", "room_size"]

_TILE = 64  # filters and pixels of a block of conv_implicit
_FEW = 4  # groups that are cheaper as a matrix product each than as one that copies turned operands


def room_size(c: Conv, itemsize: int, *, backward: bool = False, budget: int = COLUMN_BUDGET) -> int:
    """Numbers of `room` (of x's dtype) that conv2d_product, or conv2d_gradients, fills with columns."""
    if not backward and choose_way(c, itemsize, budget) is Way.IMPLICIT:
        return 0
    return c.K * _pieces(c, itemsize, budget) * c.P


def _pieces(c: Conv, itemsize: int, budget: int) -> int:
    """Pictures whose columns are made at once: all of them, unless they would take more than `budget` bytes."""
    return max(1, min(c.N, budget // max(c.K * c.P * itemsize, 1)))


def _room(room: Array | None, like: Array, shape: tuple[int, int, int]) -> Array:
    size = shape[0] * shape[1] * shape[2]
    if room is None:
        return get_array_module(like).empty(shape, dtype=like.dtype)
    if room.size < size or room.dtype != like.dtype:
        raise ShapeError(f"the room for columns needs {size} {like.dtype} numbers, got {room.size} {room.dtype}")
    return room.reshape(-1)[:size].reshape(shape)


def _columns(x: Array, c: Conv, room: Array | None) -> Array:
    """The columns (K, N*P) of pictures x, which may be a piece of the batch."""
    N = x.shape[0]
    if c.is_pointwise and N == 1:
        return x.reshape(c.K, c.P)
    col = _room(room, x, (c.K, N, c.P))
    if c.is_pointwise:
        col[...] = x.reshape(N, c.K, c.P).transpose(1, 0, 2)
    else:
        im2col_nchw(x, *c.filters[2:], c.stride, c.pad, c.dilation, pictures_inside=True, out=col)
    return col.reshape(c.K, N * c.P)


def _matmul(a: Array, b: Array, out: Array) -> None:
    """out[g] = a[g] @ b[g]; out is C-contiguous. Two-dimensional products take turned operands without copying."""
    xp = get_array_module(a, b, out)
    if a.shape[0] > _FEW:
        xp.matmul(a, b, out=out)
        return
    for ag, bg, og in zip(a, b, out, strict=True):
        xp.matmul(ag, bg, out=og)


def conv2d_product(x: Array, W: Array, c: Conv, *, out: Array | None = None, room: Array | None = None) -> Array:
    """W @ columns of all pictures at once: z (FN, N, OH, OW), x's dtype; ways POINTWISE and COLUMNS.

    room: any array of x's dtype with `room_size` numbers at least.
    """
    G = c.groups
    z = output(get_array_module(x, W), out, (c.FN, c.N, *c.out), x.dtype)
    col = _columns(x, c, room)
    _matmul(W.reshape(G, c.FN // G, -1), col.reshape(G, c.K // G, -1), z.reshape(G, c.FN // G, -1))
    return z


def conv2d_forward(
    x: Array,
    W: Array,
    b: Array | None = None,
    stride: IntPair = 1,
    pad: PadLike = 0,
    dilation: IntPair = 1,
    groups: int = 1,
    *,
    relu: bool = False,
    way: Way | None = None,
    out: Array | None = None,
    room: Array | None = None,
    product: Array | None = None,
) -> Array:
    """y (N, FN, OH, OW), x's dtype: convolution, bias, and ReLU where asked for.

    x: (N, C, H, W); W: (FN, C/groups, FH, FW); b: (FN,). room: see `room_size`; product: (FN, N, OH, OW); both are
    made where None. way: `choose_way`'s by default. Source: book, section 7.4.2. Raises ShapeError where shapes do
    not fit.
    """
    c = conv(x.shape, W.shape, stride, pad, dilation, groups)
    chosen = choose_way(c, x.dtype.itemsize) if way is None else way
    if chosen is Way.IMPLICIT:
        return _implicit(x, W, b, c, relu, out)
    z = conv2d_product(x, W, c, out=product, room=room)
    return bias_relu(z, b, relu=relu, channel_first=True, out=out)


def _implicit(x: Array, W: Array, b: Array | None, c: Conv, relu: bool, out: Array | None) -> Array:
    xp = get_array_module(x, W, b)
    out = output(xp, out, c.y, x.dtype)
    output(xp, W, c.filters, x.dtype, "W")
    if b is not None:
        output(xp, b, (c.FN,), x.dtype, "b")
    filters = c.FN // c.groups
    tiles = -(-filters // _TILE) * -(-(c.N * c.P) // _TILE) * c.groups
    sizes = (c.N, c.groups, c.filters[1], filters, *c.x[2:], *c.filters[2:], *c.out)
    arguments = (x, W, b, out, *sizes, *c.stride, *c.pad[:2], *c.dilation, int(relu))
    launch("implicit_gemm", "conv_implicit", x.dtype, arguments, blocks=tiles)
    return out


def conv2d_gradients(
    dz: Array,
    x: Array,
    W: Array,
    c: Conv,
    *,
    need_dx: bool = True,
    budget: int = COLUMN_BUDGET,
    dx: Array | None = None,
    dW: Array | None = None,
    room: Array | None = None,
) -> tuple[Array | None, Array]:
    """dx (None where not needed) and dW from dz (FN, N, OH, OW), the gradient of `conv2d_product`; dz's dtype.

    The columns are made again rather than kept from forward: one pass over memory, and room that layers can share.
    More pictures than `budget` bytes of columns allow go in pieces.
    """
    xp, G = get_array_module(dz, x, W), c.groups
    output(xp, dz, (c.FN, c.N, *c.out), x.dtype, "dz")
    dW = output(xp, dW, c.filters, x.dtype, "dW")
    dx = output(xp, dx, c.x, x.dtype, "dx") if need_dx else None
    if c.N == 0:
        dW.fill(0)
        return dx, dW
    step = _pieces(c, x.dtype.itemsize, budget)
    turned_W = W.reshape(G, c.FN // G, -1).swapaxes(1, 2)
    dW_matrix = dW.reshape(G, c.FN // G, -1)
    for first in range(0, c.N, step):
        piece = slice(first, first + step)
        dz_piece = xp.ascontiguousarray(dz[:, piece]).reshape(G, c.FN // G, -1)
        col = _columns(x[piece], c, room).reshape(G, c.K // G, -1)
        if first == 0:
            _matmul(dz_piece, col.swapaxes(1, 2), dW_matrix)
        else:
            more = xp.empty_like(dW_matrix)
            _matmul(dz_piece, col.swapaxes(1, 2), more)
            dW_matrix += more
        if dx is not None:
            _dx(turned_W, dz_piece, c, dx[piece], room)
    return dx, dW


def _dx(turned_W: Array, dz: Array, c: Conv, dx: Array, room: Array | None) -> None:
    """Writes dx of a piece of the batch, through the same room as its columns."""
    N = dx.shape[0]
    dcol = _room(room, dx, (c.K, N, c.P))
    _matmul(turned_W, dz, dcol.reshape(c.groups, c.K // c.groups, -1))
    if c.is_pointwise:
        dx.reshape(N, c.K, c.P)[...] = dcol.transpose(1, 0, 2)
    else:
        col2im_nchw(dcol, dx.shape, *c.filters[2:], c.stride, c.pad, c.dilation, pictures_inside=True, out=dx)


def conv2d_backward(
    dout: Array,
    x: Array,
    W: Array,
    y: Array | None = None,
    stride: IntPair = 1,
    pad: PadLike = 0,
    dilation: IntPair = 1,
    groups: int = 1,
    *,
    need_dx: bool = True,
    budget: int = COLUMN_BUDGET,
    dx: Array | None = None,
    dW: Array | None = None,
    db: Array | None = None,
    room: Array | None = None,
    dproduct: Array | None = None,
    sums: Array | None = None,
) -> tuple[Array | None, Array, Array]:
    """Gradients dx (None where not needed), dW, db (FN,) of `conv2d_forward`, all of dout's dtype.

    dout: (N, FN, OH, OW); x: forward's input; y: its output where it ended in ReLU, else None. Buffers that are None
    are made: dproduct (FN, N, OH, OW), sums as in `bias_relu_backward`, room as `room_size(..., backward=True)`.
    """
    c = conv(x.shape, W.shape, stride, pad, dilation, groups)
    output(get_array_module(dout, x, W), dout, c.y, x.dtype, "dout")
    dz, db = bias_relu_backward(dout, y, channel_first=True, out=dproduct, db=db, sums=sums)
    dx, dW = conv2d_gradients(dz, x, W, c, need_dx=need_dx, budget=budget, dx=dx, dW=dW, room=room)
    return dx, dW, db
