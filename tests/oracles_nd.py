"""Convolutions over any number of spatial axes and matrix products as sums over indices: slow, and no code of xpcnn."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

Ints = Sequence[int]
Place = tuple[int, ...]


def reached(sizes: Ints, window: Ints, stride: Ints, pads: Ints, dilation: Ints) -> tuple[int, ...]:
    """How many windows lie wholly inside the padded input, counted one after the other."""
    counts = []
    for i, size in enumerate(sizes):
        length, first, count = pads[i] + size + pads[len(sizes) + i], 0, 0
        while first + (window[i] - 1) * dilation[i] < length:
            count, first = count + 1, first + stride[i]
        counts.append(count)
    return tuple(counts)


def links(
    sizes: Ints, window: Ints, out: Ints, stride: Ints, pads: Ints, dilation: Ints
) -> Iterator[tuple[Place, Place, Place]]:
    """(place in the output, in the window, in the input) of every product that a convolution sums; pads add none."""
    for o in itertools.product(*map(range, out)):
        for f in itertools.product(*map(range, window)):
            i = tuple(ok * s + fk * d - p for ok, s, fk, d, p in zip(o, stride, f, dilation, pads, strict=False))
            if all(0 <= ik < size for ik, size in zip(i, sizes, strict=True)):
                yield o, f, i


def conv(
    x: np.ndarray, W: np.ndarray, b: np.ndarray | None, stride: Ints, pads: Ints, dilation: Ints, groups: int
) -> np.ndarray:
    FN, channels, *window = W.shape
    out = reached(x.shape[2:], window, stride, pads, dilation)
    y = np.zeros((len(x), FN, *out))
    for n, f in itertools.product(range(len(x)), range(FN)):
        y[n, f] = 0.0 if b is None else b[f]
        first = f // (FN // groups) * channels
        for o, k, i in links(x.shape[2:], window, out, stride, pads, dilation):
            for c in range(channels):
                y[n, f, *o] += x[n, first + c, *i] * W[f, c, *k]
    return y


def conv_gradients(
    dout: np.ndarray, x: np.ndarray, W: np.ndarray, stride: Ints, pads: Ints, dilation: Ints, groups: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dx, dW, db."""
    FN, channels, *window = W.shape
    dx, dW, db = np.zeros(x.shape), np.zeros(W.shape), np.zeros(FN)
    for n, f in itertools.product(range(len(x)), range(FN)):
        db[f] += float(dout[n, f].sum())
        first = f // (FN // groups) * channels
        for o, k, i in links(x.shape[2:], window, dout.shape[2:], stride, pads, dilation):
            for c in range(channels):
                dx[n, first + c, *i] += dout[n, f, *o] * W[f, c, *k]
                dW[f, c, *k] += dout[n, f, *o] * x[n, first + c, *i]
    return dx, dW, db


def conv_transpose(
    x: np.ndarray,
    W: np.ndarray,
    b: np.ndarray | None,
    stride: Ints,
    pads: Ints,
    output_pad: Ints,
    dilation: Ints,
    groups: int,
) -> np.ndarray:
    """Every element of x adds itself times a filter to what lies stride * place + dilation * (place in the window)."""
    C, filters, *window = W.shape
    n = len(window)
    whole = [(s - 1) * t + (w - 1) * d + 1 for s, t, w, d in zip(x.shape[2:], stride, window, dilation, strict=True)]
    y = np.zeros((len(x), filters * groups, *(size + more for size, more in zip(whole, output_pad, strict=True))))
    for i in itertools.product(*map(range, x.shape[2:])):
        for k in itertools.product(*map(range, window)):
            o = tuple(ik * s + kk * d for ik, s, kk, d in zip(i, stride, k, dilation, strict=True))
            for sample, c, f in itertools.product(range(len(x)), range(C), range(filters)):
                y[sample, c // (C // groups) * filters + f, *o] += x[sample, c, *i] * W[c, f, *k]
    if b is not None:
        y += b.reshape(-1, *(1,) * n)
    return y[:, :, *(slice(pads[k], y.shape[2 + k] - pads[n + k]) for k in range(n))]


def conv_transpose_gradients(
    dout: np.ndarray, x: np.ndarray, W: np.ndarray, stride: Ints, pads: Ints, dilation: Ints, groups: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dx, dW, db."""
    C, filters, *window = W.shape
    dx, dW = np.zeros(x.shape), np.zeros(W.shape)
    db = np.array([float(dout[:, f].sum()) for f in range(filters * groups)])
    for i in itertools.product(*map(range, x.shape[2:])):
        for k in itertools.product(*map(range, window)):
            o = tuple(ik * s + kk * d - p for ik, s, kk, d, p in zip(i, stride, k, dilation, pads, strict=False))
            if not all(0 <= ok < size for ok, size in zip(o, dout.shape[2:], strict=True)):
                continue
            for sample, c, f in itertools.product(range(len(x)), range(C), range(filters)):
                d = dout[sample, c // (C // groups) * filters + f, *o]
                dx[sample, c, *i] += d * W[c, f, *k]
                dW[c, f, *k] += d * x[sample, c, *i]
    return dx, dW, db


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """One sum for each element of the product; stacks are broadcast by repeating them."""
    left, right = a[None, :] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b
    stack = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    left, right = np.broadcast_to(left, stack + left.shape[-2:]), np.broadcast_to(right, stack + right.shape[-2:])
    y = np.zeros((*stack, left.shape[-2], right.shape[-1]))
    for place in np.ndindex(*y.shape):
        s, p, q = place[:-2], place[-2], place[-1]
        y[place] = sum(float(left[*s, p, d]) * float(right[*s, d, q]) for d in range(left.shape[-1]))
    if a.ndim == 1:
        y = y[..., 0, :]
    return y[..., 0] if b.ndim == 1 else y
