"""PyTorch, one operation after the other, with its fused Adam."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from mnist_files import read_mnist
from torch import nn
from workloads import LEARNING_RATE, NETS, Affine, Conv, Net, Workload, batches, parameters

__all__ = ["build", "first_epoch", "module", "versions"]


_WORDS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "pool": lambda: nn.MaxPool2d(2),
    "dropout": lambda: nn.Dropout(0.5),
}


def versions() -> dict[str, str]:
    return {"torch": torch.__version__}


def module(net: Net) -> nn.Sequential:
    """The same network of PyTorch's layers, with the workload's parameters."""
    layers: list[nn.Module] = []
    for layer in net.layers:
        if isinstance(layer, Conv):
            layers.append(nn.Conv2d(layer.C, layer.FN, layer.size, layer.stride, layer.pad))
        elif isinstance(layer, Affine):
            flat = any(isinstance(m, nn.Flatten) for m in layers)
            layers += [*([] if flat else [nn.Flatten()]), nn.Linear(layer.D, layer.M)]
        else:
            layers.append(_WORDS[layer]())
    built = nn.Sequential(*layers)
    with torch.no_grad():
        for p, a in zip(built.parameters(), parameters(net).values(), strict=True):
            p.copy_(torch.from_numpy(a.T if a.ndim == 2 else a))
    return built


def _prepared(
    net: Net, threads: int, channels_last: bool, compiled: bool
) -> tuple[nn.Module, Any, torch.memory_format]:
    """The module, what is called to run it, and the memory format of its pictures."""
    torch.set_num_threads(threads)
    memory = torch.channels_last if channels_last else torch.contiguous_format
    model = module(net).to(memory_format=memory)
    return model, torch.compile(model) if compiled else model, memory


def build(workload: Workload, threads: int, channels_last: bool = False, compiled: bool = False) -> Callable[[], Any]:
    model, run, memory = _prepared(workload.net, threads, channels_last, compiled)
    pairs = [(torch.from_numpy(x).contiguous(memory_format=memory), torch.from_numpy(t)) for x, t in batches(workload)]
    if workload.task == "train":
        step, data = _training(model, run, LEARNING_RATE), itertools.cycle(pairs)
        return lambda: step(*next(data))
    x, t = pairs[0]
    if workload.task == "inference":
        model.eval()

        def predict() -> torch.Tensor:
            with torch.inference_mode():
                return run(x)

        return predict
    x, dout = x.requires_grad_(True), t.contiguous(memory_format=memory)

    def both() -> torch.Tensor:
        x.grad = None
        model.zero_grad()
        run(x).backward(dout)
        return x.grad

    return both


def _training(model: nn.Module, run: Any, lr: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)

    def step(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(run(x), t)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def first_epoch(folder: str, threads: int, channels_last: bool = False, compiled: bool = False) -> float:
    model, run, memory = _prepared(NETS["simple"], threads, channels_last, compiled)
    x_train, t_train, x_test, t_test = (torch.from_numpy(a) for a in read_mnist(folder))
    step = _training(model, run, 0.001)
    torch.manual_seed(0)
    for chosen in torch.randperm(len(x_train)).split(100):
        step(x_train[chosen].contiguous(memory_format=memory), t_train[chosen])
    model.eval()
    with torch.inference_mode():
        right = sum(
            int((run(x.contiguous(memory_format=memory)).argmax(1) == t).sum())
            for x, t in zip(x_test.split(100), t_test.split(100), strict=True)
        )
    return right / len(x_test)
