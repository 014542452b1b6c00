"""What ranks do in the tests that start real MPI processes; a command line of its own, and its figures.

    mpiexec -n 3 python -m tests.training.distributed_runs train OUT.npz --model simple --steps 200
    python -m tests.training.distributed_runs compare ONE.npz OUT.npz

`train` without --distributed is the single process that the others are compared with.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from xpcnn import Sequential, Trainer
from xpcnn.datasets import load_mnist
from xpcnn.layers import affine, conv, dropout, max_pool
from xpcnn.models import SimpleConvNet
from xpcnn.network import Network
from xpcnn.training.distributed import Team

MODELS: dict[str, Callable[[str], Network]] = {
    "simple": lambda dtype: SimpleConvNet(seed=1, dtype=dtype),
    "tiny": lambda dtype: Sequential(
        [conv(4, 3), "relu", max_pool(2), affine(8), "relu", affine(3)], (1, 8, 8), seed=1, dtype=dtype
    ),
    "deep": lambda dtype: Sequential(
        [
            *(conv(4, 3, pad=1), "batch_norm", "relu", conv(4, 3, pad=1), "relu", max_pool(2)),
            *(affine(10), "relu", dropout(0.5), affine(3), dropout(0.5)),
        ],
        (1, 8, 8),
        seed=2,
        dtype=dtype,
    ),
}


def stripes(n: int, side: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """n noisy pictures (1, side, side), and which of `classes` columns is bright."""
    rng = np.random.default_rng(0)
    t = rng.permutation(np.arange(n) % classes)
    x = rng.normal(0.0, 0.5, (n, 1, side, side)).astype(np.float32)
    for picture, label in zip(x, t, strict=True):
        picture[0, :, side * label // classes : side * (label + 1) // classes] += 1.0
    return x, t


def mnist(n: int) -> tuple[np.ndarray, np.ndarray]:
    (x, t), _ = load_mnist(flatten=False)
    return x[:n], t[:n]


def train(
    out: str, model: str, steps: int, batch: int, samples: int, threads: int, dtype: str, data: str, distributed: bool
) -> None:
    """Trains for whole epochs of at least `steps` steps; rank 0 writes parameters, losses and figures."""
    net = MODELS[model](dtype)
    net.use_threads(threads)
    x, t = mnist(samples) if data == "mnist" else stripes(samples, net.input_shape[1], net.output_shape[0])
    epochs = -(-steps // -(-samples // batch))
    how = {"epochs": epochs, "mini_batch_size": batch, "optimizer": "momentum", "optimizer_param": {"lr": 0.01}}
    trainer = Trainer(net, x, t, verbose=False, train_accuracy="running", distributed=distributed, **how)
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    team = trainer.team
    waited = team.communicator.seconds if isinstance(team, Team) else 0.0
    if not isinstance(team, Team) or team.communicator.rank == 0:
        arrays = {f"array/{name}": a for name, a in net.arrays().items()}
        np.savez(out, **arrays, losses=trainer.train_loss_list, seconds=seconds, waited=waited)


def differences(one: str | Path, other: str | Path) -> dict[str, float]:
    """Two runs' parameters: their largest difference, and the norm of all differences relative to that of all."""
    with np.load(one) as a, np.load(other) as b:
        names = [name for name in a.files if name.startswith("array/")]
        whole, other_whole = (np.concatenate([f[name].ravel().astype(np.float64) for name in names]) for f in (a, b))
        gaps = whole - other_whole
        return {
            "steps": len(a["losses"]),
            "absolute": float(np.abs(gaps).max()),
            "relative": float(np.linalg.norm(gaps) / np.linalg.norm(whole)),
            "loss": float(np.abs(a["losses"] - b["losses"]).max()),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("out")
    training.add_argument("--model", choices=MODELS, default="simple")
    for name, value in (("steps", 200), ("batch", 100), ("samples", 990), ("threads", 1)):
        training.add_argument(f"--{name}", type=int, default=value)
    training.add_argument("--dtype", default="float32")
    training.add_argument("--data", choices=("stripes", "mnist"), default="stripes")
    training.add_argument("--distributed", action="store_true")
    comparing = commands.add_parser("compare")
    comparing.add_argument("one")
    comparing.add_argument("other")
    words = vars(parser.parse_args())
    if words.pop("command") == "train":
        train(**words)
    else:
        print(differences(**words))


if __name__ == "__main__":
    main()
