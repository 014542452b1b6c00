"""What the ranks of test_distributed_cuda.py do: real processes, each with a double of CuPy in a card's place."""

from __future__ import annotations

import importlib
import sys

import numpy as np

from tests.fake_cupy import runtime
from tests.fake_cupy.install import installed
from xpcnn import Sequential, Trainer, layers
from xpcnn.communication import world
from xpcnn.device import asnumpy


def trained(distributed: bool) -> Trainer:
    rng = np.random.default_rng(2)
    x, t = rng.integers(0, 256, (17, 1, 6, 6)).astype(np.uint8), rng.integers(0, 3, 17)
    entries = [layers.conv(4, 3), "batch_norm", "relu", layers.affine(6), "relu", layers.affine(3)]
    net = Sequential(entries, input_shape=(1, 6, 6), seed=0)
    trainer = Trainer(
        net, x, t, x[:9], t[:9], epochs=2, mini_batch_size=8, optimizer="momentum", optimizer_param={"lr": 0.05},
        scale=1 / 255, verbose=False, device="cuda", distributed=distributed,
    )  # fmt: skip
    trainer.train()
    return trainer


def main(path: str) -> None:
    with installed():
        ranks = world()
        runtime._PROPERTIES["uuid"] = b"the card of %d" % ranks.rank
        importlib.import_module("cupy.cuda.nccl").available = False  # the double's ends at its process
        trainer = trained(True)
        sums = trainer.network.executor.exchange.communicator
        arrays = {name: asnumpy(a) for name, a in trainer.network.arrays().items()}
        if ranks.rank == 0:
            np.savez(path, **arrays, losses=trainer.train_loss_list)
            print(f"{ranks.size} ranks, {sums.why}")


if __name__ == "__main__":
    main(sys.argv[1])
