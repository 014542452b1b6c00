"""Prints the largest relative error of every layer's gradients against central differences, in float64.

Exit code 1 where one is above 1e-6 (a right gradient stays under 1e-8, a wrong one is wrong in its first digits).
"""

from __future__ import annotations

import sys

import numpy as np

from xpcnn import layers
from xpcnn.models import SimpleConvNet
from xpcnn.ops.gradcheck import check_layer, relative_error

LIMIT = 1e-6


def errors() -> dict[str, float]:
    """The largest relative error over inputs and parameters, by layer."""
    random = np.random.default_rng(1).standard_normal  # not 0: check_layer draws its weights from that
    picture, rows = (random((3, 4, 7, 5)),), (random((5, 7)),)
    strided = layers.Convolution(random((6, 2, 3, 2)), random(6), stride=2, pad=(1, 0, 2, 1), groups=2)
    cases = {
        "Convolution": (layers.Convolution(random((5, 4, 3, 3)), random(5), pad=1), picture),
        "Convolution, stride, pads, groups": (strided, picture),
        "Convolution, dilation": (layers.Convolution(random((3, 4, 3, 2)), random(3), dilation=2), picture),
        "Pooling, max": (layers.Pooling(2, 2, 2, pad=1), picture),
        "Pooling, average": (layers.Pooling(3, 2, 2, 1, "average"), picture),
        "GlobalAveragePooling": (layers.GlobalAveragePooling(), picture),
        "Affine": (layers.Affine(random((140, 6)), random(6)), picture),
        "BatchNormalization, pictures": (layers.BatchNormalization(random(4), random(4)), picture),
        "BatchNormalization, rows": (layers.BatchNormalization(random(7), random(7)), rows),
        "LocalResponseNormalization": (layers.LocalResponseNormalization(3, alpha=0.1), picture),
        **{kind.__name__: (kind(), rows) for kind in (layers.Relu, layers.LeakyRelu, layers.Elu, layers.Sigmoid)},
        **{kind.__name__: (kind(), rows) for kind in (layers.Tanh, layers.Softmax, layers.LogSoftmax, layers.Flatten)},
        "Add": (layers.Add(), (picture[0], random((3, 4, 7, 5)))),
        "Concatenate": (layers.Concatenate(), (picture[0], random((3, 2, 7, 5)))),
    }
    found = {name: max(check_layer(layer, *inputs).values()) for name, (layer, inputs) in cases.items()}
    net = SimpleConvNet((1, 9, 9), {"filter_num": 3, "filter_size": 3}, 6, 4, "he", seed=0, dtype="float64")
    x, t = random((5, 1, 9, 9)), np.array([0, 3, 1, 2, 2])
    numerical, exact = net.numerical_gradient(x, t), net.gradient(x, t)
    found["SimpleConvNet with SoftmaxWithLoss"] = max(relative_error(exact[name], numerical[name]) for name in exact)
    return found


def main() -> int:
    found = errors()
    for name, error in found.items():
        print(f"{name:36}{error:10.1e}{'' if error < LIMIT else '   WRONG'}")
    return int(not max(found.values()) < LIMIT)


if __name__ == "__main__":
    sys.exit(main())
