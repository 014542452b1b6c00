"""`xpcnn bench`: how fast networks train and predict on this machine's CPU, alone or beside other libraries."""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import xpcnn
from xpcnn.cli.common import limit_threads, say
from xpcnn.errors import ConfigError, TrainingError
from xpcnn.models import MODELS, make_model
from xpcnn.network import Network
from xpcnn.ops.cpu.compiled import why_not
from xpcnn.rng import generator
from xpcnn.training.trainer import Trainer

__all__ = ["bench"]

_COMPARED = ("simple", "deep")  # the models that benchmarks/ has for the other libraries too
_LEARNING_RATE = 1e-6  # the same arithmetic as any other, but the few batches are not learned by heart


def bench(
    model: Annotated[str, typer.Option("--model", help="simple, deep, resnet18, ...: see docs/models.md.")] = "simple",
    batch_size: Annotated[int, typer.Option("--batch-size", help="Samples a step.")] = 100,
    threads: Annotated[int | None, typer.Option(help="Threads of the CPU (all cores).")] = None,
    seconds: Annotated[float, typer.Option(help="For each measurement.")] = 3.0,
    peers: Annotated[
        bool, typer.Option("--peers", help="Also the book's style, PyTorch and onnxruntime, where installed.")
    ] = False,
) -> None:
    """Time a training step with Adam, and predicting a batch and a single picture, on the CPU."""
    if batch_size < 1:
        raise ConfigError(f"--batch-size is at least 1, got {batch_size}")
    if not 0.0 < seconds < float("inf"):
        raise ConfigError(f"--seconds is a time above 0, got {seconds}")
    if threads is not None and threads < 1:
        raise ConfigError(f"--threads is at least 1, got {threads}")
    if peers:
        _compare(model, batch_size, threads, seconds)
        return
    with limit_threads(threads) or nullcontext():
        network = make_model(model, seed=0)
        network.use_threads(threads)
        kernels = f"NumPy alone ({reason})" if (reason := why_not()) else "compiled kernels"
        parameters = sum(a.size for a in network.params.values())
        say(f"{type(network).__name__}: {parameters:,} parameters, {network.dtype}, {kernels}; {_version_words()}")
        say(network.executor.describe())
        for title, batch, call in _workloads(network, batch_size):
            times = _times(call, seconds)
            median = statistics.median(times)
            say(
                f"{title}, batch {batch}: median {1e3 * median:.3f} ms, fastest {1e3 * min(times):.3f} ms, "
                f"{batch / median:,.0f} pictures/s ({len(times)} times)"
            )


def _version_words() -> str:
    return f"xpcnn {xpcnn.__version__}, NumPy {np.__version__}"


def _workloads(network: Network, batch_size: int) -> Iterator[tuple[str, int, Callable[[], Any]]]:
    """(title, samples, one iteration) of each measurement."""
    rng = generator(0, "bench")
    x = rng.random((batch_size, *network.input_shape), dtype=np.float32)
    t = rng.integers(0, network.output_shape[0], batch_size)
    trainer = Trainer(network, x, t, optimizer="adam", optimizer_param={"lr": _LEARNING_RATE}, verbose=False)
    yield "training step with Adam", batch_size, lambda: trainer.step(x, t)
    for n in dict.fromkeys((batch_size, 1)):
        pictures = x[:n]
        yield "predicting", n, lambda pictures=pictures: network.predict(pictures, batch_size=None)  # type: ignore[misc]


def _times(call: Callable[[], Any], seconds: float) -> list[float]:
    """Seconds of each call made in that time; at least three, after one that is not counted."""
    call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def _compare(model: str, batch_size: int, threads: int | None, seconds: float) -> None:
    """Runs the checkout's own benchmarks, which print as they go."""
    if model not in _COMPARED:
        known = f"; xpcnn has no model of that name, it has {', '.join(MODELS)}" if model not in MODELS else ""
        raise ConfigError(f"--peers compares {' and '.join(_COMPARED)}, got --model {model}{known}")
    root = Path(xpcnn.__file__).parents[1]
    scripts = [root / "benchmarks" / name for name in ("cpu_train.py", "cpu_inference.py")]
    if not all(script.is_file() for script in scripts):
        raise ConfigError(
            f"--peers runs the scripts in the source checkout's folder benchmarks, and {root} has none; "
            "get the source, and in it: pip install -e '.[bench]'"
        )
    if not any(map(importlib.util.find_spec, ("torch", "onnxruntime"))):
        say("neither torch nor onnxruntime is installed; only the book's style is compared: pip install '.[bench]'")
    words = ["--models", model, "--seconds", str(seconds), *(["--threads", str(threads)] if threads else [])]
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    sys.stdout.flush()
    for script in scripts:
        sizes = dict.fromkeys((batch_size, 1)) if script.name == "cpu_inference.py" else [batch_size]
        command = [sys.executable, str(script), *words, "--batch", *map(str, sizes)]
        code = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode
        if code:
            raise TrainingError(f"{script.name} ended with code {code}; its own words are above")
