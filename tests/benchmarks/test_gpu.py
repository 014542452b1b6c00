"""The GPU benchmark's networks, its roofline's counts, and the script itself, tried on a CPU."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tests.fake_cupy.counts import counts
from tests.fake_cupy.install import installed
from xpcnn import Trainer
from xpcnn.device import CudaDevice, get_device

gpu_nets = pytest.importorskip("gpu_nets")
roofline = pytest.importorskip("roofline")


def test_resnet18_has_the_parameters_of_the_one_for_32x32_pictures() -> None:
    net = gpu_nets.resnet18(seed=0)
    # 0.01 million less than torchvision's body of 11.18 million: a 3x3 stem in place of a 7x7 one.
    assert sum(a.size for a in net.params.values()) == 11_173_962
    assert net.output_shape == (10,)


@pytest.mark.parametrize("name", ["simple", "deep"])
def test_the_roofline_counts_the_launches_that_the_double_sees(name: str) -> None:
    with installed():
        device = get_device("cuda")
        assert isinstance(device, CudaDevice)
        net = gpu_nets.ours(name, device)
        x = np.zeros((8, *gpu_nets.NETS[name].shape), np.float32)
        trainer = Trainer(
            net, x, np.zeros(8, np.int64), mini_batch_size=4, optimizer="adam", verbose=False, train_accuracy="running"
        )
        trainer.epochs = 1
        trainer.train()
        batches = trainer._batches.epoch(1)
        trainer.step(*next(batches))
        with counts.watch() as seen:
            trainer.step(*next(batches))
    assert roofline.count_step(net, 4).launches == sum(seen.launches.values()) + seen.matmuls
    assert set(seen.operations) == {"matmul"}


def test_flops_are_those_of_the_cpu_s_workloads() -> None:
    from workloads import NETS

    for name in ("simple", "deep"):
        counted = roofline.count_step(gpu_nets.ours(name, "cpu"), 100).flops
        assert counted == 100 * NETS[name].flops("parameters")


@pytest.mark.parity
@pytest.mark.parametrize("name", ["simple", "deep", "resnet18", "conv64"])
def test_pytorch_s_module_is_the_same_network(name: str) -> None:
    torch = pytest.importorskip("torch")
    net = gpu_nets.ours(name, "cpu")
    x = np.random.default_rng(0).random((3, *gpu_nets.NETS[name].shape), dtype=np.float32)
    module = gpu_nets.torch_module(net).eval()
    with torch.inference_mode():
        wanted = module(torch.from_numpy(x)).numpy()
    # float32 sums in two orders, through up to 18 layers.
    np.testing.assert_allclose(net.predict(x), wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


def test_the_script_runs_and_leaves_out_what_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import gpu

    words = "gpu.py --device cpu --nets simple --batch 2 --seconds 0.02 --rounds 2 --libraries ours ours-half"
    monkeypatch.setattr(sys, "argv", words.split())
    gpu.main()
    out, err = capsys.readouterr()
    assert "| ours |" in out
    assert "Roofline: " in out
    assert "ours-half is left out" in err


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import gpu

    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    with pytest.raises(SystemExit, match="no GPU to measure on"):
        gpu.main()
