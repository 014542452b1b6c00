"""onnxruntime's CPU provider; inference only."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnxruntime
from workloads import NETS, Workload, batches

from peers import Unavailable

__all__ = ["build", "versions"]


def versions() -> dict[str, str]:
    return {"onnxruntime": onnxruntime.__version__}


def build(workload: Workload, threads: int) -> Callable[[], Any]:
    if find_spec("onnx") is None:
        raise Unavailable("onnx, which writes the model for it, is not installed")
    name = next(name for name, net in NETS.items() if net == workload.net)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "net.onnx")
        command = [sys.executable, "-m", "peers.onnx_model", name, str(workload.batch), path]
        subprocess.run(command, check=True, cwd=Path(__file__).parents[1])
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    x = batches(workload, 1)[0][0]
    return lambda: session.run(None, {"x": x})[0]
