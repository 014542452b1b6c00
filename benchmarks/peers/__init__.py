"""The libraries that are compared, one small module each; a module is imported only in its own worker process.

A module has `build(workload, threads, **options)`, which returns a function that does one iteration, `versions()`, and
where the library can train `first_epoch(folder, threads, **options)`, which does what a cold start is timed on:
reads MNIST, trains SimpleConvNet for one epoch of batches of 100 with Adam, returns the test accuracy.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

__all__ = ["PEERS", "TORCH_EAGER", "Peer", "Unavailable"]


class Unavailable(Exception):
    """Why a library takes no part; a line."""


@dataclass(frozen=True)
class Peer:
    """name: for --libraries. options: for the module's functions. environment: of its processes."""

    name: str
    title: str
    module: str
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    tasks: tuple[str, ...] = ("train", "inference", "both", "epoch")
    slow: bool = False  # in a cold start: measured once

    def load(self) -> ModuleType:
        return importlib.import_module(f"peers.{self.module}")


PEERS = {
    peer.name: peer
    for peer in (
        Peer("ours", "xpcnn, extra fast", "ours", {"compiled": True}),
        Peer("ours-numpy", "xpcnn, NumPy alone", "ours", environment={"XPCNN_COMPILED": "0"}),
        Peer("book", "the book's style", "book", slow=True),
        Peer("torch", "PyTorch eager, contiguous", "torch_eager"),
        Peer("torch-cl", "PyTorch eager, channels last", "torch_eager", {"channels_last": True}),
        Peer("torch-compile", "PyTorch, torch.compile", "torch_compile", slow=True),
        Peer("onnxruntime", "onnxruntime", "onnx_runtime", tasks=("inference",)),
        Peer("sgemm", "matrix product", "sgemm", tasks=()),
    )
}
TORCH_EAGER = ("torch", "torch-cl")
