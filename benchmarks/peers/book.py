"""The book's way, as book_style.py writes it; BLAS alone uses the threads."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from book_style import Adam, BookNetwork
from mnist_files import read_mnist
from workloads import LEARNING_RATE, NETS, Workload, batches, parameters

__all__ = ["build", "first_epoch", "versions"]


def versions() -> dict[str, str]:
    return {"numpy": np.__version__}


def build(workload: Workload, threads: int) -> Callable[[], Any]:
    net = BookNetwork(workload.net, parameters(workload.net))
    pairs = batches(workload)
    if workload.task == "train":
        optimizer, data = Adam(LEARNING_RATE), itertools.cycle(pairs)

        def step() -> float:
            optimizer.update(net.params, net.gradient(*next(data)))
            return net.last.loss

        return step
    x, t = pairs[0]
    if workload.task == "inference":
        return lambda: net.predict(x)

    def both() -> np.ndarray:
        net.predict(x, train=True)
        return net.backward(t)

    return both


def first_epoch(folder: str, threads: int) -> float:
    x_train, t_train, x_test, t_test = read_mnist(folder)
    params = parameters(NETS["simple"])
    net, optimizer = BookNetwork(NETS["simple"], params), Adam(0.001)
    rng = np.random.default_rng(0)
    for _ in range(len(x_train) // 100):
        chosen = rng.choice(len(x_train), 100)
        optimizer.update(net.params, net.gradient(x_train[chosen], t_train[chosen]))
    return net.accuracy(x_test, t_test)
