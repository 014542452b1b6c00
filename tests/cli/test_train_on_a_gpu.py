"""`xpcnn train --device cuda` from beginning to end, on a real card where there is one, else on the double."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fake_cupy.install import installed
from xpcnn.device import CudaDevice
from xpcnn.formats import load_arrays

TINY = ["train", "--dataset", "tiny.npz", "--batch-size", "25", "--lr", "0.003"]


@pytest.mark.parametrize("flag", [("--device", "cuda"), ("--gpu",), ("--device", "auto")])
def test_a_run_on_the_device_and_its_files_on_the_host(cuda: CudaDevice, run: Any, tiny: Any, flag: tuple[str]) -> None:
    result = run(*TINY, "--epochs", 3, "--out", "r", *flag)
    assert result.exit_code == 0, result.output
    assert f"on {cuda.name}" in result.stdout
    assert result.stdout.splitlines()[-1] == "test accuracy 100.00% after 3 epochs"
    evaluated = run("evaluate", "r", "--device", "cpu", "--dataset", "tiny.npz")
    assert evaluated.exit_code == 0, evaluated.output
    assert "100.00%" in evaluated.stdout


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_run_goes_on_where_it_was_and_to_the_same_bits(cuda: CudaDevice, run: Any, tiny: Any, dtype: str) -> None:
    common = (*TINY, "--device", "cuda", "--dtype", dtype, "--augment", "shift=1")
    assert run(*common, "--epochs", 2, "--out", "whole").exit_code == 0
    assert run(*common, "--epochs", 1, "--out", "parts").exit_code == 0
    result = run("train", "--resume", "parts", "--epochs", 2)
    assert result.exit_code == 0, result.output
    found, wanted = (load_arrays(Path(folder, "model.safetensors")) for folder in ("parts", "whole"))
    for name, a in wanted.items():
        assert a.dtype == np.float32
        np.testing.assert_array_equal(found[name], a, err_msg=name)


def test_a_run_from_the_device_goes_on_on_a_cpu(cuda: CudaDevice, run: Any, tiny: Any) -> None:
    assert run(*TINY, "--device", "cuda", "--epochs", 1, "--out", "r").exit_code == 0
    result = run("train", "--resume", "r", "--epochs", 3, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == "test accuracy 100.00% after 3 epochs"


def test_memory_that_does_not_suffice_is_a_line_not_a_traceback(run: Any, tiny: Any) -> None:
    with installed() as cupy:
        pool = cupy.get_default_memory_pool()
        pool.free_all_blocks()
        pool.set_limit(size=pool.used_bytes() + 100_000)
        try:
            result = run(*TINY, "--device", "cuda", "--epochs", 1, "--out", "r")
        finally:
            pool.set_limit(size=0)
    assert result.exit_code in (1, 2)
    assert "Traceback" not in result.output
    assert "bytes" in result.stderr
    assert "memory" in result.stderr


def test_float16_on_a_cpu_is_refused(run: Any, tiny: Any) -> None:
    result = run(*TINY, "--dtype", "float16", "--epochs", 1, "--out", "r")
    assert result.exit_code == 2
    assert "GPU" in result.stderr
