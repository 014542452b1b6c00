"""The kernels of one convolution, called with NumPy arrays."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpcnn.errors import ShapeError
from xpcnn.ops.cpu.compiled.arrays import INDEX, NOTHING, NUMBERS_AT, Bound, Call, Place, flat, place
from xpcnn.ops.cpu.compiled.blocking import Shape
from xpcnn.ops.cpu.compiled.elementwise import unpool_ir
from xpcnn.ops.cpu.compiled.forward import forward_ir
from xpcnn.ops.cpu.compiled.grad_w import grad_w_ir
from xpcnn.ops.cpu.compiled.host import Host, this_host
from xpcnn.ops.cpu.compiled.native import compiled

__all__ = ["ConvKernels", "forward_kernel"]

Float = NDArray[np.float32]
Index = NDArray[np.uint8]

_CHUNK = 384 * 1024  # bytes of x and g over which a block of dw is summed at a time: part of a core's L2 cache
_FORWARD = ("i64", "i64", "ptr", "i64", "ptr", "ptr", "float", *("ptr", "i64", "i64") * 2, "ptr")
_GRAD_W = ("i64", "i64", "ptr", "i64", "ptr", "i64", "i64", "ptr", "ptr")
_UNPOOL = ("i64", "i64", "i64", *("ptr", "i64", "i64") * 4, "ptr")


@functools.cache
def forward_kernel(shape: Shape, host: Host, store: str) -> Callable[..., None]:
    """The compiled `forward_ir`."""
    return compiled(forward_ir(shape, host, store), _FORWARD, host)


@functools.cache
def _grad_w(shape: Shape, host: Host) -> Callable[..., None]:
    return compiled(grad_w_ir(shape, host), _GRAD_W, host)


@functools.cache
def _unpool(FN: int, host: Host, relu: bool) -> Callable[..., None]:
    return compiled(unpool_ir(FN, host, relu), _UNPOOL, host)


class ConvKernels:
    """One convolution of float32 NHWC arrays: C channels, FN filters of FH x FW, padded rows of IW pixels.

    Arrays called "strided" may be the interior of a padded buffer: their images and rows may lie apart, the pixels
    of a row not. Nothing outside the arrays is read or written; outputs must not overlap inputs.

    Every method does its work and returns it as a call without arguments (see `Bound`) that does it again. Kernels
    are compiled when first used, or ahead by `prepare`. Any number of threads may use one object at once, each with
    outputs of its own: the GIL is free meanwhile. Equal calls give equal bits.

    Raises ShapeError for an array that does not fit, CompileError where LLVM is missing or refuses.
    """

    def __init__(
        self,
        C: int,
        FN: int,
        FH: int,
        FW: int,
        stride_h: int = 1,
        stride_w: int = 1,
        *,
        IW: int,
        host: Host | None = None,
    ) -> None:
        """host: a processor to compile for that has less than this machine; None: this machine."""
        if min(C, FN, FH, FW, stride_h, stride_w) < 1 or IW < FW:
            raise ShapeError(
                f"a convolution needs sizes of 1 and more, and rows no shorter than its filters; got C={C}, FN={FN}, "
                f"FH={FH}, FW={FW}, stride {stride_h}x{stride_w}, IW={IW}"
            )
        self.shape = Shape(C, FN, FH, FW, stride_h, stride_w, IW)
        self.OW = self.shape.OW
        self.host = this_host() if host is None else host
        self._no_bias = np.zeros(FN, dtype=np.float32)

    def __repr__(self) -> str:
        return f"ConvKernels({', '.join(f'{name}={value}' for name, value in self.shape._asdict().items())})"

    def prepare(self, *methods: str) -> None:
        """Compiles the kernels of the methods named (none: all) ahead of their first call."""
        makers: dict[str, Callable[[], object]] = {
            "forward": lambda: forward_kernel(self.shape, self.host, "relu"),
            "forward_pool": lambda: self.OW > 1 and forward_kernel(self.shape, self.host, "pool"),
            "grad_w": lambda: _grad_w(self.shape, self.host),
            "unpool_relu": lambda: _unpool(self.shape.FN, self.host, True),
            "bias_grad": lambda: _grad_w(self._ones_shape(), self.host),
        }
        for method in methods or makers:
            makers[method]()

    def forward(self, x: Float, w: Float, b: Float | None, out: Float, relu: bool = False) -> Bound:
        """out = x convolved with w, + b; then max(., 0) if relu.

        x: (N, Hp, IW, C), padded, rows one after another; w: (FH, FW, C, FN); b: (FN,) or None;
        out: (N, OH, OW, FN), strided.
        """
        N, OH, x_at = self._input("x", x)
        out_at = place("out", out, (N, OH, self.OW, self.shape.FN), write=True)
        return self._convolve("relu", N, OH, x_at, self._weights("w", w), b, relu, out_at, NOTHING, (x, w, out))

    def forward_pool(self, x: Float, w: Float, b: Float | None, out: Float, index: Index, relu: bool = True) -> Bound:
        """As `forward`, keeping the largest of every 2x2 outputs (stride 2).

        out: (N, OH//2, OW//2, FN), strided; index: the same in uint8: which of (0,0), (0,1), (1,0), (1,1) it was,
        chosen before ReLU; the first of equals, and a NaN above all.
        """
        N, OH, x_at = self._input("x", x)
        shape = (N, OH // 2, self.OW // 2, self.shape.FN)
        out_at = place("out", out, shape, write=True)
        index_at = place("index", index, shape, INDEX, write=True)
        w_at = self._weights("w", w)
        if not out.size:
            return Bound([], ())
        return self._convolve("pool", N, OH // 2, x_at, w_at, b, relu, out_at, index_at, (x, w, out, index))

    def grad_w(self, x: Float, g: Float, dw: Float) -> Bound:
        """dw (FH, FW, C, FN) += the gradient of w, from forward's x and its output's gradient g, strided."""
        N, OH, x_at = self._input("x", x)
        C, FN, FH, FW = self.shape[:4]
        g_at = place("g", g, (N, OH, self.OW, FN))
        dw_at = flat("dw", dw, (FH, FW, C, FN), write=True)
        return self._sums(self.shape, N, OH, x_at, g_at, dw_at, (x, g, dw))

    def bias_grad(self, g: Float, db: Float) -> Bound:
        """db (FN,) += the sum of g (N, OH, OW, FN), strided, over all pixels: grad_w for a 1x1 picture of ones."""
        FN = self.shape.FN
        if not isinstance(g, np.ndarray) or g.ndim != 4:
            raise ShapeError(f"g must be (N, OH, {self.OW}, {FN}); got {np.shape(g)}")
        N, OH = g.shape[:2]
        g_at, db_at = place("g", g, (N, OH, self.OW, FN)), flat("db", db, (FN,), write=True)
        ones = np.ones((OH, self.OW), dtype=np.float32)
        ones_at = Place(ones.ctypes.data, 0, ones.strides[0])  # the same picture for every image
        return self._sums(self._ones_shape(), N, OH, ones_at, g_at, db_at, (ones, g, db))

    def unpool_relu(self, dout: Float, index: Index, y: Float | None, g: Float) -> Bound:
        """g = the gradient before pooling and ReLU, from dout, that after them.

        dout: (N, OH//2, OW//2, FN), strided; index, y: what forward_pool gave, strided (y None: no ReLU);
        g: (N, OH, OW, FN), strided, all of it written.
        """
        FN = self.shape.FN
        if not isinstance(g, np.ndarray) or g.ndim != 4:
            raise ShapeError(f"g must be (N, OH, {self.OW}, {FN}); got {np.shape(g)}")
        N, OH = g.shape[:2]
        rows, columns = OH // 2, self.OW // 2
        shape = (N, rows, columns, FN)
        g_at = place("g", g, (N, OH, self.OW, FN), write=True)
        dout_at, index_at = place("dout", dout, shape), place("index", index, shape, INDEX)
        y_at = dout_at if y is None else place("y", y, shape)
        kernel = _unpool(FN, self.host, y is not None)
        calls: list[Call] = []
        if dout.size:
            calls.append((kernel, (N, rows, columns, *dout_at, *index_at, *y_at, *g_at, NUMBERS_AT)))
        # An odd last row or column was in no window.
        rest = [g[:, 2 * rows :], g[:, :, 2 * columns :]]
        calls.extend((edge.fill, (0.0,)) for edge in rest if edge.size)
        return _done(Bound(calls, (dout, index, y, g)))

    # --------------------------------------------------------------------------------------------------- parts
    def _ones_shape(self) -> Shape:
        return Shape(1, self.shape.FN, 1, 1, 1, 1, self.OW)

    def _input(self, name: str, x: Any) -> tuple[int, int, Place]:
        """N, OH and where x lies."""
        shape = self.shape
        if not isinstance(x, np.ndarray) or x.ndim != 4 or x.shape[1] < shape.FH:
            raise ShapeError(f"{name} must be (N, Hp >= {shape.FH}, {shape.IW}, {shape.C}); got {np.shape(x)}")
        N, Hp = x.shape[:2]
        at = place(name, x, (N, Hp, shape.IW, shape.C))
        if N and Hp > 1 and at.row != shape.row:
            raise ShapeError(f"{name}'s rows must lie one after another, {shape.row} bytes apart; they are {at.row}")
        return N, (Hp - shape.FH) // shape.stride_h + 1, at

    def _weights(self, name: str, w: Any) -> int:
        C, FN, FH, FW = self.shape[:4]
        return flat(name, w, (FH, FW, C, FN))

    def _convolve(
        self, store: str, N: int, rows: int, x: Place, w: int, b: Any, relu: bool, out: Place, other: Place, arrays: Any
    ) -> Bound:
        bias = self._no_bias if b is None else b
        b_at = flat("b", bias, (self.shape.FN,))
        if N == 0:
            return Bound([], ())
        kernel = forward_kernel(self.shape, self.host, store)
        floor = 0.0 if relu else -np.inf
        call = (N, rows, x.address, x.image, w, b_at, floor, *out, *other, NUMBERS_AT)
        return _done(Bound([(kernel, call)], (*arrays, bias)))

    def _sums(self, shape: Shape, N: int, OH: int, x: Place, g: Place, dw: int, arrays: Any) -> Bound:
        """The sums over all pixels, in chunks (images, or rows of one) that stay in the cache while dw is gone over."""
        kernel = _grad_w(shape, self.host)
        row_bytes = shape.stride_h * shape.row + 4 * shape.OW * shape.FN
        rows = _equal_part(OH, _CHUNK // row_bytes)
        images = _equal_part(N, _CHUNK // max(1, OH * row_bytes))
        calls: list[Call] = []
        for n in range(0, N, images):
            for r in range(0, OH, rows):
                x_at = x.address + n * x.image + r * x.row * shape.stride_h
                g_at = g.address + n * g.image + r * g.row
                counts = (min(images, N - n), min(rows, OH - r))
                calls.append((kernel, (*counts, x_at, x.image, g_at, g.image, g.row, dw, NUMBERS_AT)))
        return _done(Bound(calls, arrays))


def _equal_part(length: int, most: int) -> int:
    """How many of `length` things to take at a time, no more than `most`: as few times as will do, equally often."""
    return max(1, -(-length // max(1, -(-length // max(1, most)))))


def _done(call: Bound) -> Bound:
    call()
    return call
