"""A batch out of a data set that lies on the device."""

from __future__ import annotations

from xpcnn.device import Array
from xpcnn.errors import ShapeError
from xpcnn.ops.cuda.module import launch

__all__ = ["ROWS", "gather_batch"]

ROWS = {"uint8": "unsigned char", "float32": "float", "float64": "double"}  # what pictures may be held in


def gather_batch(
    x: Array, t: Array, order: Array, out: Array, labels: Array, *, divisor: float = 0.0, factor: float = 1.0
) -> None:
    """out (N, ...) = x[order] / divisor, or times `factor` where divisor is 0, and labels (N,) = t[order].

    x: uint8, float32 or float64; out: float16, float32 or float64; t, labels, order: int64, order (N,) lying within
    x, which nothing checks. Raises ShapeError where shapes or dtypes do not fit.
    """
    whole = t.dtype == labels.dtype == order.dtype == "int64"
    fits = out.shape == (*order.shape, *x.shape[1:]) and labels.shape == order.shape and t.shape == x.shape[:1]
    if not (whole and fits and x.dtype.name in ROWS):
        raise ShapeError(
            f"a batch of {order.shape} {order.dtype} from {x.shape} {x.dtype} and {t.shape} {t.dtype} does not go into "
            f"{out.shape} and {labels.shape} {labels.dtype}"
        )
    row = out.size // max(len(out), 1)
    arguments = (x, t, order, out, labels, out.size, row, len(out), float(divisor), float(factor))
    more = (f"-DXP_ROW={ROWS[x.dtype.name]}",)
    launch("batches", "gather_batch", out.dtype, arguments, threads_wanted=out.size, more=more)
