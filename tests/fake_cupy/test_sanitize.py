"""Launches under the sanitizers: right ones give the same arrays, wrong ones are told with their line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.fake_cupy.install import installed
from tests.fake_cupy.launching import KernelError
from tests.fake_cupy.sanitize import SanitizerError, available, sanitized

pytestmark = pytest.mark.skipif(not available(), reason="no g++ with sanitizers here")

# `what` picks the fault; with what = 0 the kernel sums each block's 64 elements.
TEXT = """extern "C" __global__ void k(const float* x, float* y, int* z, int what) {
    extern __shared__ float room[];
    __shared__ float fixed[64];
    room[threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x + (what == 1)];
    fixed[threadIdx.x * (what == 2 ? 2 : 1)] = 0.0f;
    __syncthreads();
    if (threadIdx.x == 0) {
        float sum = 0.0f;
        for (int i = 0; i < 64; ++i) sum += room[i];
        y[(int)blockIdx.x - (what == 3)] = sum;
        z[0] += what == 4 ? 2147483647 : 0;
        if (what == 5) room[64] = 1.0f;
        if (what == 6) ((float4*)(y + 1))->x = 1.0f;
        if (what == 8) z[0] = 1 << (z[0] + 31 + what);
    }
    assert(what != 7);
}"""


@pytest.fixture
def launch() -> Iterator[Any]:
    with installed() as cupy, sanitized():
        kernel = cupy.RawKernel(TEXT, "k")
        x, y, z = cupy.arange(192, dtype="float32"), cupy.zeros(3, "float32"), cupy.ones(1, "int32")

        def run(what: int) -> np.ndarray:
            kernel((3,), (64,), (x, y, z, np.int32(what)), shared_mem=256)
            return y.get()

        yield run


def test_a_right_kernel_gives_its_arrays(launch: Any) -> None:
    np.testing.assert_array_equal(launch(0), np.arange(192).reshape(3, 64).sum(axis=1))


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (1, "heap-buffer-overflow"),
        (2, "kernel.cu:5.*index 64 out of bounds"),
        (3, "heap-buffer-overflow"),
        (4, "kernel.cu:11.*signed integer overflow"),
        (5, "heap-buffer-overflow"),
        (6, "kernel.cu:13.*misaligned address"),
        (8, "kernel.cu:14.*shift exponent"),
    ],
)
def test_faults_are_told(launch: Any, what: int, words: str) -> None:
    with pytest.raises(SanitizerError, match=words):
        launch(what)


def test_assertions_are_told(launch: Any) -> None:
    with pytest.raises(KernelError, match="assertion failed at line 16"):
        launch(7)


def test_arrays_of_one_allocation_keep_their_borders() -> None:
    text = 'extern "C" __global__ void k(float* a, const float* b, int n) { for (int i = 0; i < n; ++i) a[i] = b[i]; }'
    with installed() as cupy, sanitized():
        flat, kernel = cupy.arange(8, dtype="float32"), cupy.RawKernel(text, "k")
        kernel((1,), (1,), (flat[:4], flat[4:], np.int32(4)))
        assert flat.get().tolist() == [4, 5, 6, 7, 4, 5, 6, 7]
        kernel((1,), (1,), (flat[:4], flat[2:6], np.int32(4)))  # overlapping ones share their memory
        assert flat.get().tolist() == [6, 7, 4, 5, 4, 5, 6, 7]
        with pytest.raises(SanitizerError, match="heap-buffer-overflow"):  # inside the allocation, beyond the arrays
            kernel((1,), (1,), (flat[:3], flat[4:], np.int32(4)))
