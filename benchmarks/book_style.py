"""Training as the book's chapters 5 to 8 write it, to be measured against: clear first, fast never.

Written anew from the book's description. Kept are the habits that cost time: convolution by an im2col that fills a
six-dimensional array of NumPy's default dtype (float64, whatever the pictures are), col2im by the same loop, pooling
by im2col and argmax, a ReLU that copies and writes by a mask, parameters and gradients in dictionaries, Adam one
array after the other with fresh temporaries, parameters in float64 as `np.random.randn` makes them.
"""

from __future__ import annotations

import numpy as np
from workloads import Affine, Conv, Net

__all__ = ["Adam", "BookNetwork", "col2im", "im2col"]


def _sizes(shape: tuple[int, ...], FH: int, FW: int, stride: int, pad: int) -> tuple[int, int]:
    return (shape[2] + 2 * pad - FH) // stride + 1, (shape[3] + 2 * pad - FW) // stride + 1


def im2col(x: np.ndarray, FH: int, FW: int, stride: int = 1, pad: int = 0) -> np.ndarray:
    """(N, C, H, W) to rows of windows, (N * OH * OW, C * FH * FW), in float64."""
    N, C = x.shape[:2]
    OH, OW = _sizes(x.shape, FH, FW, stride, pad)
    padded = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)], "constant")
    windows = np.zeros((N, C, FH, FW, OH, OW))
    for row in range(FH):
        for column in range(FW):
            windows[:, :, row, column, :, :] = padded[
                :, :, row : row + stride * OH : stride, column : column + stride * OW : stride
            ]
    return windows.transpose(0, 4, 5, 1, 2, 3).reshape(N * OH * OW, -1)


def col2im(col: np.ndarray, shape: tuple[int, ...], FH: int, FW: int, stride: int = 1, pad: int = 0) -> np.ndarray:
    """Adds rows of windows up to pictures of `shape`: the transpose of im2col."""
    N, C, H, W = shape
    OH, OW = _sizes(shape, FH, FW, stride, pad)
    windows = col.reshape(N, OH, OW, C, FH, FW).transpose(0, 3, 4, 5, 1, 2)
    padded = np.zeros((N, C, H + 2 * pad + stride - 1, W + 2 * pad + stride - 1))
    for row in range(FH):
        for column in range(FW):
            padded[:, :, row : row + stride * OH : stride, column : column + stride * OW : stride] += windows[
                :, :, row, column, :, :
            ]
    return padded[:, :, pad : pad + H, pad : pad + W]


class _Convolution:
    def __init__(self, W: np.ndarray, b: np.ndarray, stride: int, pad: int) -> None:
        self.W, self.b, self.stride, self.pad = W, b, stride, pad

    def forward(self, x: np.ndarray, train: bool) -> np.ndarray:
        FN, _, FH, FW = self.W.shape
        OH, OW = _sizes(x.shape, FH, FW, self.stride, self.pad)
        self.shape, self.col = x.shape, im2col(x, FH, FW, self.stride, self.pad)
        self.col_W = self.W.reshape(FN, -1).T
        out = np.dot(self.col, self.col_W) + self.b
        return out.reshape(len(x), OH, OW, -1).transpose(0, 3, 1, 2)

    def backward(self, dout: np.ndarray) -> np.ndarray:
        FN, C, FH, FW = self.W.shape
        dout = dout.transpose(0, 2, 3, 1).reshape(-1, FN)
        self.db = np.sum(dout, axis=0)
        self.dW = np.dot(self.col.T, dout).transpose(1, 0).reshape(FN, C, FH, FW)
        return col2im(np.dot(dout, self.col_W.T), self.shape, FH, FW, self.stride, self.pad)


class _Pooling:
    def __init__(self, size: int, stride: int) -> None:
        self.size, self.stride = size, stride

    def forward(self, x: np.ndarray, train: bool) -> np.ndarray:
        N, C = x.shape[:2]
        OH, OW = _sizes(x.shape, self.size, self.size, self.stride, 0)
        col = im2col(x, self.size, self.size, self.stride).reshape(-1, self.size**2)
        self.shape, self.chosen = x.shape, np.argmax(col, axis=1)
        return np.max(col, axis=1).reshape(N, OH, OW, C).transpose(0, 3, 1, 2)

    def backward(self, dout: np.ndarray) -> np.ndarray:
        dout = dout.transpose(0, 2, 3, 1)
        spread = np.zeros((dout.size, self.size**2))
        spread[np.arange(self.chosen.size), self.chosen.flatten()] = dout.flatten()
        rows = spread.reshape(dout.shape[0] * dout.shape[1] * dout.shape[2], -1)
        return col2im(rows, self.shape, self.size, self.size, self.stride)


class _Affine:
    def __init__(self, W: np.ndarray, b: np.ndarray) -> None:
        self.W, self.b = W, b

    def forward(self, x: np.ndarray, train: bool) -> np.ndarray:
        self.shape, self.x = x.shape, x.reshape(len(x), -1)
        return np.dot(self.x, self.W) + self.b

    def backward(self, dout: np.ndarray) -> np.ndarray:
        self.dW, self.db = np.dot(self.x.T, dout), np.sum(dout, axis=0)
        return np.dot(dout, self.W.T).reshape(self.shape)


class _Relu:
    def forward(self, x: np.ndarray, train: bool) -> np.ndarray:
        self.mask = x <= 0
        out = x.copy()
        out[self.mask] = 0
        return out

    def backward(self, dout: np.ndarray) -> np.ndarray:
        dout[self.mask] = 0  # overwrites its argument, as the book's does
        return dout


class _Dropout:
    """The book's rule: nothing is scaled up in training, all is multiplied by 1 - ratio at test time."""

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio

    def forward(self, x: np.ndarray, train: bool) -> np.ndarray:
        if not train:
            return x * (1.0 - self.ratio)
        self.mask = np.random.rand(*x.shape) > self.ratio  # noqa: NPY002 (the book's generator)
        return x * self.mask

    def backward(self, dout: np.ndarray) -> np.ndarray:
        return dout * self.mask


class _SoftmaxWithLoss:
    def forward(self, x: np.ndarray, t: np.ndarray) -> float:
        shifted = x - np.max(x, axis=1, keepdims=True)
        self.t, self.y = t, np.exp(shifted) / np.sum(np.exp(shifted), axis=1, keepdims=True)
        self.loss = float(-np.sum(np.log(self.y[np.arange(len(t)), t] + 1e-7)) / len(t))
        return self.loss

    def backward(self) -> np.ndarray:
        dx = self.y.copy()
        dx[np.arange(len(dx)), self.t] -= 1
        return dx / len(dx)


class BookNetwork:
    """SimpleConvNet, DeepConvNet or any other chain, from a workloads.Net and its parameters."""

    def __init__(self, net: Net, params: dict[str, np.ndarray], dropout_ratio: float = 0.5) -> None:
        self.params = {name: a.astype(np.float64) for name, a in params.items()}
        self.layers: list[_Convolution | _Pooling | _Affine | _Relu | _Dropout] = []
        self.learning: list[_Convolution | _Affine] = []
        for layer in net.layers:
            number = len(self.learning) + 1
            if isinstance(layer, Conv):
                W, b = self.params[f"W{number}"], self.params[f"b{number}"]
                self.learning.append(_Convolution(W, b, layer.stride, layer.pad))
                self.layers.append(self.learning[-1])
            elif isinstance(layer, Affine):
                self.learning.append(_Affine(self.params[f"W{number}"], self.params[f"b{number}"]))
                self.layers.append(self.learning[-1])
            else:
                self.layers.append(
                    {"relu": _Relu, "pool": lambda: _Pooling(2, 2), "dropout": lambda: _Dropout(dropout_ratio)}[layer]()
                )
        self.last = _SoftmaxWithLoss()

    def predict(self, x: np.ndarray, train: bool = False) -> np.ndarray:
        for layer in self.layers:
            x = layer.forward(x, train)
        return x

    def loss(self, x: np.ndarray, t: np.ndarray) -> float:
        return self.last.forward(self.predict(x, train=True), t)

    def accuracy(self, x: np.ndarray, t: np.ndarray, batch_size: int = 100) -> float:
        right = 0
        for i in range(0, len(x), batch_size):
            right += np.sum(np.argmax(self.predict(x[i : i + batch_size]), axis=1) == t[i : i + batch_size])
        return float(right) / len(x)

    def backward(self, dout: np.ndarray) -> np.ndarray:
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout

    def gradient(self, x: np.ndarray, t: np.ndarray) -> dict[str, np.ndarray]:
        self.loss(x, t)
        self.backward(self.last.backward())
        grads = {}
        for number, layer in enumerate(self.learning, start=1):
            grads[f"W{number}"], grads[f"b{number}"] = layer.dW, layer.db
        return grads


class Adam:
    """The book's Adam: the step's length corrected for the start, 1e-7 beside the uncorrected root."""

    def __init__(self, lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999) -> None:
        self.lr, self.beta1, self.beta2, self.t = lr, beta1, beta2, 0
        self.m: dict[str, np.ndarray] = {}
        self.v: dict[str, np.ndarray] = {}

    def update(self, params: dict[str, np.ndarray], grads: dict[str, np.ndarray]) -> None:
        if not self.m:
            self.m = {name: np.zeros_like(a) for name, a in params.items()}
            self.v = {name: np.zeros_like(a) for name, a in params.items()}
        self.t += 1
        lr = self.lr * np.sqrt(1.0 - self.beta2**self.t) / (1.0 - self.beta1**self.t)
        for name in params:
            self.m[name] += (1 - self.beta1) * (grads[name] - self.m[name])
            self.v[name] += (1 - self.beta2) * (grads[name] ** 2 - self.v[name])
            params[name] -= lr * self.m[name] / (np.sqrt(self.v[name]) + 1e-7)
