"""What the operations must compute, said a second time: plain loops over windows in float64, sharing no code.

Nothing here is fast or clever, and nothing here imports xpcnn.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

Pair = tuple[int, int]
Quad = tuple[int, int, int, int]


# ---------------------------------------------------------------------------------------------------- comparing
def assert_close(got: np.ndarray, want: np.ndarray, terms: int, magnitude: float) -> None:
    """Asserts |got - want| <= 2 * terms * eps * magnitude.

    A sum of `terms` products in any order is off by at most about terms * eps * (sum of the products' magnitudes)
    (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1): eps is that of got's dtype, `magnitude`
    the largest such sum; the 2 leaves room for the oracle's own rounding when got is float64.
    """
    assert got.shape == want.shape
    tolerance = 2.0 * max(terms, 4) * float(np.finfo(got.dtype).eps) * magnitude
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=0.0, atol=tolerance)


def central_difference(f: Callable[[], float], a: np.ndarray, h: float = 1e-5) -> np.ndarray:
    """d f() / d a, element by element; a (float64) is left as it was."""
    assert a.dtype == np.float64
    assert a.flags.c_contiguous
    flat, slopes = a.reshape(-1), np.empty(a.size)
    for i in range(a.size):
        middle = flat[i]
        flat[i] = middle + h
        above = f()
        flat[i] = middle - h
        below = f()
        flat[i] = middle
        slopes[i] = (above - below) / (2.0 * h)
    return slopes.reshape(a.shape)


# ------------------------------------------------------------------------------------------------------ windows
def pad_pictures(x: np.ndarray, pad: Quad, value: float = 0.0) -> np.ndarray:
    top, left, bottom, right = pad
    return np.pad(x.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)


def positions(length: int, window: int, stride: int, dilation: int = 1) -> list[list[int]]:
    """The indices that each window sees along one axis of `length` (pads included), found by trying them all."""
    found = []
    for first in range(0, length, stride):
        seen = [first + k * dilation for k in range(window)]
        if seen[-1] < length:
            found.append(seen)
    return found


def windows_of(
    shape: Sequence[int], window: Pair, stride: Pair, pad: Quad, dilation: Pair = (1, 1)
) -> tuple[list[list[int]], list[list[int]]]:
    """Row and column indices, into the padded picture, of every window of pictures of `shape` (N, C, H, W)."""
    top, left, bottom, right = pad
    rows = positions(shape[2] + top + bottom, window[0], stride[0], dilation[0])
    columns = positions(shape[3] + left + right, window[1], stride[1], dilation[1])
    return rows, columns


def im2col(x: np.ndarray, window: Pair, stride: Pair, pad: Quad, dilation: Pair = (1, 1)) -> np.ndarray:
    image = pad_pictures(x, pad)
    rows, columns = windows_of(x.shape, window, stride, pad, dilation)
    lines = []
    for n, row, column in itertools.product(range(x.shape[0]), rows, columns):
        lines.append([image[n, c, i, j] for c in range(x.shape[1]) for i in row for j in column])
    return np.array(lines, dtype=np.float64)


def _each_output(
    x_shape: Sequence[int], W_shape: Sequence[int], stride: Pair, pad: Quad, dilation: Pair, groups: int
) -> Iterator[tuple[tuple[int, int, int, int], tuple[np.ndarray, ...]]]:
    """For every output element (n, f, oh, ow): the index of the patch (channels, rows, columns) that it sees."""
    FN, channels, FH, FW = W_shape
    rows, columns = windows_of(x_shape, (FH, FW), stride, pad, dilation)
    for n in range(x_shape[0]):
        for f in range(FN):
            first = f // (FN // groups) * channels
            for oh, row in enumerate(rows):
                for ow, column in enumerate(columns):
                    patch = np.ix_([n], range(first, first + channels), row, column)
                    yield (n, f, oh, ow), patch


def conv2d(
    x: np.ndarray, W: np.ndarray, b: np.ndarray | None, stride: Pair, pad: Quad, dilation: Pair, groups: int
) -> np.ndarray:
    image, filters = pad_pictures(x, pad), W.astype(np.float64)
    rows, columns = windows_of(x.shape, W.shape[2:], stride, pad, dilation)
    y = np.empty((x.shape[0], W.shape[0], len(rows), len(columns)))
    for place, patch in _each_output(x.shape, W.shape, stride, pad, dilation, groups):
        y[place] = (image[patch][0] * filters[place[1]]).sum() + (0.0 if b is None else float(b[place[1]]))
    return y


def conv2d_gradients(
    dout: np.ndarray, x: np.ndarray, W: np.ndarray, stride: Pair, pad: Quad, dilation: Pair, groups: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dx, dW, db: every output element hands its gradient to what it saw."""
    image, filters = pad_pictures(x, pad), W.astype(np.float64)
    dimage, dW, db = np.zeros_like(image), np.zeros_like(filters), np.zeros(W.shape[0])
    for place, patch in _each_output(x.shape, W.shape, stride, pad, dilation, groups):
        d, f = float(dout[place]), place[1]
        dimage[patch] += d * filters[f]
        dW[f] += d * image[patch][0]
        db[f] += d
    top, left = pad[:2]
    return dimage[:, :, top : top + x.shape[2], left : left + x.shape[3]], dW, db


def max_pool2d(x: np.ndarray, window: Pair, stride: Pair, pad: Quad, dout: np.ndarray | None = None) -> np.ndarray:
    """The output, or dx where dout is given. The first of the largest wins; a pad is no candidate; NaN beats all."""
    top, left = pad[:2]
    rows, columns = windows_of(x.shape, window, stride, pad)
    y, dx = np.empty((*x.shape[:2], len(rows), len(columns))), np.zeros(x.shape)
    for n, c, oh, ow in np.ndindex(*y.shape):
        best: tuple[int, int] | None = None
        for i, j in itertools.product(rows[oh], columns[ow]):
            here = (i - top, j - left)
            if not (0 <= here[0] < x.shape[2] and 0 <= here[1] < x.shape[3]):
                continue
            nan = math.isnan(x[n, c, *here])
            if best is None or nan or x[n, c, *here] > x[n, c, *best]:
                best = here
            if nan:
                break
        assert best is not None, "the case has a window of nothing but pad"
        y[n, c, oh, ow] = x[n, c, *best]
        if dout is not None:
            dx[n, c, *best] += dout[n, c, oh, ow]
    return y if dout is None else dx


def average_pool2d(
    x: np.ndarray, window: Pair, stride: Pair, pad: Quad, count_pad: bool, dout: np.ndarray | None = None
) -> np.ndarray:
    """The output, or dx where dout is given."""
    top, left = pad[:2]
    rows, columns = windows_of(x.shape, window, stride, pad)
    y, dx = np.empty((*x.shape[:2], len(rows), len(columns))), np.zeros(x.shape)
    for n, c, oh, ow in np.ndindex(*y.shape):
        inside = [
            (i - top, j - left)
            for i, j in itertools.product(rows[oh], columns[ow])
            if 0 <= i - top < x.shape[2] and 0 <= j - left < x.shape[3]
        ]
        count = window[0] * window[1] if count_pad else max(len(inside), 1)
        y[n, c, oh, ow] = math.fsum(float(x[n, c, i, j]) for i, j in inside) / count
        if dout is not None:
            for i, j in inside:
                dx[n, c, i, j] += dout[n, c, oh, ow] / count
    return y if dout is None else dx


# ------------------------------------------------------------------------------------------------ normalisation
def batch_norm(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float = 1e-5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y, mean, variance: one channel after the other."""
    x = x.astype(np.float64)
    y, means, variances = np.empty(x.shape), [], []
    for c in range(x.shape[1]):
        values = [float(v) for v in x[:, c].ravel()]
        mean = math.fsum(values) / len(values)
        variance = math.fsum((v - mean) ** 2 for v in values) / len(values)
        y[:, c] = (x[:, c] - mean) / math.sqrt(variance + eps) * float(gamma[c]) + float(beta[c])
        means.append(mean)
        variances.append(variance)
    return y, np.array(means), np.array(variances)


def lrn(x: np.ndarray, size: int, alpha: float, beta: float, k: float) -> np.ndarray:
    """AlexNet's formula (Krizhevsky et al. 2012, section 3.3); an even size looks one channel further ahead."""
    x = x.astype(np.float64)
    y = np.empty(x.shape)
    for n, c, i, j in np.ndindex(*x.shape):
        first, last = max(0, c - (size - 1) // 2), min(x.shape[1] - 1, c + size // 2)
        squares = sum(x[n, other, i, j] ** 2 for other in range(first, last + 1))
        y[n, c, i, j] = x[n, c, i, j] / (k + alpha * squares) ** beta
    return y


# --------------------------------------------------------------------------------------------------------- loss
def log_softmax(row: Sequence[float]) -> list[float]:
    largest = max(row)
    log_sum = largest + math.log(math.fsum(math.exp(v - largest) for v in row))
    return [v - log_sum for v in row]


def cross_entropy(x: np.ndarray, t: Sequence[int], smoothing: float = 0.0) -> float:
    """The mean over rows of -sum(q * log p), q being the smoothed one-hot target."""
    losses = []
    for row, label in zip(x.tolist(), t, strict=True):
        log_p, K = log_softmax(row), len(row)
        q = [(1.0 - smoothing) * (k == label) + smoothing / K for k in range(K)]
        losses.append(-math.fsum(qk * lk for qk, lk in zip(q, log_p, strict=True) if qk))
    return math.fsum(losses) / len(losses)


# ------------------------------------------------------------------------------------------------------- random
def philox4x32(counter: Sequence[int], key: Sequence[int], rounds: int = 10) -> tuple[int, int, int, int]:
    """One block of Philox4x32 in Python integers (Salmon et al. 2011, section 3.3)."""
    a, b, c, d = counter
    k0, k1 = key
    for _ in range(rounds):
        high0, low0 = divmod(0xD2511F53 * a, 1 << 32)
        high1, low1 = divmod(0xCD9E8D57 * c, 1 << 32)
        a, b, c, d = high1 ^ b ^ k0, low1, high0 ^ d ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % (1 << 32), (k1 + 0xBB67AE85) % (1 << 32)
    return a, b, c, d
