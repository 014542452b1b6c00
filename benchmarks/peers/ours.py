"""xpcnn through its ordinary API: a Sequential, Trainer.step, predict."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
from workloads import LEARNING_RATE, Affine, Conv, Net, Workload, batches, parameters

import xpcnn
from peers import Unavailable
from xpcnn.executors import make_executor
from xpcnn.layers import SoftmaxWithLoss, affine, conv, max_pool
from xpcnn.models import SimpleConvNet
from xpcnn.ops.cpu.compiled import why_not

__all__ = ["build", "first_epoch", "network", "versions"]


def versions() -> dict[str, str]:
    found = {"xpcnn": xpcnn.__version__, "numpy": np.__version__}
    return found if why_not() else {**found, "llvmlite": version("llvmlite")}


def network(net: Net, threads: int | None = None) -> xpcnn.Sequential:
    """The same network of xpcnn's layers, with the workload's parameters."""
    layers: list[object] = []
    for layer in net.layers:
        if isinstance(layer, Conv):
            layers.append(conv(layer.FN, layer.size, layer.stride, layer.pad))
        elif isinstance(layer, Affine):
            layers.append(affine(layer.M))
        else:
            layers.append(max_pool(2) if layer == "pool" else layer)
    built = xpcnn.Sequential(layers, net.shape, seed=0, param_names="book")
    built.load_arrays(parameters(net))
    built.use_threads(threads)
    return built


class _GivenGradient(SoftmaxWithLoss):
    """No loss: takes the output's gradient where labels would be, and hands it back."""

    def forward_in(self, ctx: Any, x: Any, t: Any) -> Any:
        ctx.save(t)
        return np.zeros((), x.dtype)

    def backward_in(self, ctx: Any, dout: Any = 1.0) -> Any:
        return ctx.load()[0]


def _channels_last(x: np.ndarray) -> np.ndarray:
    """The same (N, C, H, W) in the memory order in which it comes from the layer before."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def _require_compiled() -> None:
    if reason := why_not():
        raise Unavailable(f"no compiled kernels: {reason}")


def build(workload: Workload, threads: int, compiled: bool = False) -> Callable[[], Any]:
    if compiled:
        _require_compiled()
    net = network(workload.net, threads)
    pairs = batches(workload)
    x, t = pairs[0]
    if workload.task == "train":
        data = itertools.cycle(pairs)
        trainer = xpcnn.Trainer(net, x, t, optimizer="adam", optimizer_param={"lr": LEARNING_RATE}, verbose=False)
        return lambda: trainer.step(*next(data))
    if workload.task == "inference":
        if len(workload.net.layers) == 1:
            x = _channels_last(x)
        return lambda: net.predict(x, batch_size=None)
    # A first layer computes no gradient of its input; here it has to, as if a layer that learns came before it.
    nodes = {name: replace(node, needs_dx=True) for name, node in net.nodes.items()}
    executor = make_executor(nodes, net.input_shape, _GivenGradient(), 0, net.device, net.dtype, threads)
    x, dout = _channels_last(x), _channels_last(t)
    return lambda: executor.gradient(x, dout)


def first_epoch(folder: str, threads: int, compiled: bool = False) -> float:
    from xpcnn.data import load_dataset

    if compiled:
        _require_compiled()
    data = load_dataset("mnist", folder, download=False)
    net = SimpleConvNet(weight_init_std="he", seed=0)  # as good a start as the others have
    net.use_threads(threads)
    trainer = xpcnn.Trainer(
        net,
        data.x_train,
        data.t_train,
        data.x_test,
        data.t_test,
        epochs=1,
        optimizer="adam",
        optimizer_param={"lr": 0.001},
        scale=1.0 / 255.0,
        train_accuracy="running",
        verbose=False,
    )
    return float(trainer.train()[-1]["test_acc"])
