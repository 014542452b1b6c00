"""RawKernel on the host: what kernels compute, and what launches are refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.fake_cupy import build, launching
from tests.fake_cupy.counts import counts
from tests.fake_cupy.install import installed
from tests.fake_cupy.kernels import CompileException, CUDADriverError
from tests.fake_cupy.memory import IllegalAccessError

pytestmark = pytest.mark.skipif(build.compiler() is None, reason="no g++ here")

SCALE = """
extern "C" __global__ void __launch_bounds__(256) scale(const float* __restrict__ x, float* y, float by, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = by * x[i];
}
"""


@pytest.fixture
def cupy() -> Iterator[Any]:
    with installed() as double:
        yield double


def _run(cupy: Any, text: str, arrays: Any, grid: int = 1, block: int = 32, **how: Any) -> None:
    cupy.RawKernel(text, "k")((grid,), (block,), arrays, **how)


@pytest.mark.parametrize("n", [1, 255, 256, 1000])
def test_a_grid_covers_its_elements(cupy: Any, n: int) -> None:
    x, y = cupy.arange(n, dtype="float32"), cupy.empty(n, "float32")
    with counts.watch() as seen:
        cupy.RawKernel(SCALE, "scale")((-(-n // 256),), (256,), (x, y, np.float32(2.5), np.int32(n)))
    np.testing.assert_array_equal(y.get(), np.arange(n, dtype=np.float32) * np.float32(2.5))
    assert seen.launches == {"scale": 1}
    assert not seen.syncs
    assert not seen.operations
    assert seen.allocations.number == seen.host_to_device.number == seen.device_to_host.number == 0


def test_all_three_dimensions(cupy: Any) -> None:
    out = cupy.zeros((4, 3, 2, 5, 6, 7), "int32")
    text = """extern "C" __global__ void k(int* out) {
        int at = ((((blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x) * blockDim.z + threadIdx.z)
                  * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
        out[at] += at + 1;
    }"""
    cupy.RawKernel(text, "k")((2, 3, 4), (7, 6, 5), (out,))
    np.testing.assert_array_equal(out.get().ravel(), np.arange(1, out.size + 1))


# ------------------------------------------------------------------------------------------------ waiting threads
REVERSE = """extern "C" __global__ void k(int* a) {
    extern __shared__ int room[];
    room[threadIdx.x] = a[threadIdx.x];
    %s
    a[threadIdx.x] = room[blockDim.x - 1 - threadIdx.x];
}"""


@pytest.mark.parametrize("way", ["forwards", "backwards"])
def test_barriers_order_shared_memory(cupy: Any, way: str) -> None:
    a = cupy.arange(256, dtype="int32")
    if way == "backwards":
        with launching.backwards():
            _run(cupy, REVERSE % "__syncthreads();", (a,), block=256, shared_mem=1024)
    else:
        _run(cupy, REVERSE % "__syncthreads();", (a,), block=256, shared_mem=1024)
    np.testing.assert_array_equal(a.get(), np.arange(256)[::-1])


def test_a_missing_barrier_shows(cupy: Any) -> None:
    a = cupy.arange(256, dtype="int32")
    _run(cupy, REVERSE % "", (a,), block=256, shared_mem=1024)
    assert (a.get() == -1).sum() == 128  # what thread 0 to 127 read was not yet written


def test_shared_memory_holds_nothing_at_first(cupy: Any) -> None:
    y = cupy.zeros(4, "float32")
    text = """extern "C" __global__ void k(float* y) {
        __shared__ float room[2];
        if (threadIdx.x == 0) { y[blockIdx.x] = room[0]; room[0] = 1.0f; }
    }"""
    _run(cupy, text, (y,), grid=4)
    assert np.isnan(y.get()).all()


WARP_FUNCTIONS = [
    ("__shfl_xor_sync(0xffffffffu, v, 5)", lambda lane: lane ^ 5),
    ("__shfl_down_sync(0xffffffffu, v, 3)", lambda lane: np.where(lane < 29, lane + 3, lane)),
    ("__shfl_up_sync(0xffffffffu, v, 3)", lambda lane: np.where(lane >= 3, lane - 3, lane)),
    ("__shfl_sync(0xffffffffu, v, 7)", lambda lane: 0 * lane + 7),
    ("__shfl_xor_sync(0xffffffffu, v, 2, 8)", lambda lane: lane ^ 2),
    ("__shfl_down_sync(0xffffffffu, v, 2, 4)", lambda lane: np.where(lane % 4 < 2, lane + 2, lane)),
    ("__ballot_sync(0xffffffffu, v < 3)", lambda lane: 0 * lane + 7),
    ("__any_sync(0xffffffffu, v == 31)", lambda lane: 0 * lane + 1),
    ("__all_sync(0xffffffffu, v < 31)", lambda lane: 0 * lane),
    ("__syncthreads_count(v % 3 == 0)", lambda lane: 0 * lane + 22),
    ("__syncthreads_or(v == 40)", lambda lane: 0 * lane),
    ("__reduce_add_sync(0xffffffffu, v)", lambda lane: 0 * lane + 496),
]
# One text for all of them: a compiler is slow.
_CASES = "".join(f"case {i}: a[threadIdx.x] = {call}; break;\n" for i, (call, _) in enumerate(WARP_FUNCTIONS))
_WARP = f'extern "C" __global__ void k(int* a, int which) {{ int v = threadIdx.x % 32; switch (which) {{ {_CASES} }} }}'


@pytest.mark.parametrize("number", range(len(WARP_FUNCTIONS)))
def test_warp_functions(cupy: Any, number: int) -> None:
    a = cupy.empty(64, "int32")
    _run(cupy, _WARP, (a, np.int32(number)), block=64)
    np.testing.assert_array_equal(a.get(), np.tile(WARP_FUNCTIONS[number][1](np.arange(32)), 2))


def test_a_half_warp_talks_to_itself(cupy: Any) -> None:
    a = cupy.full(32, -7, "int32")
    text = """extern "C" __global__ void k(int* a) {
        if (threadIdx.x < 16) a[threadIdx.x] = __shfl_xor_sync(0xffffu, (int)threadIdx.x, 1);
    }"""
    _run(cupy, text, (a,))
    np.testing.assert_array_equal(a.get(), [*(np.arange(16) ^ 1), *[-7] * 16])


_WRONG = """extern "C" __global__ void k(int which) {
if (which == 0) { if (threadIdx.x < 5) __syncthreads(); else __shfl_sync(0xffffffffu, 1, 0); }
if (which == 1) {
    if (threadIdx.x < 5) __syncthreads();
    else
        __syncthreads();
}
if (which == 2) __shfl_sync(0xfffffffeu, 1, 1);
if (which == 3) assert(threadIdx.x < 31);
}"""


@pytest.mark.parametrize(
    ("which", "words"),
    [
        (0, "can never go on: thread \\(0, 0, 0\\) of block \\(0, 0, 0\\) waits at the barrier of line 2"),
        (1, "different barriers, lines 4 and 6"),
        (2, "mask leaves out the lane that calls it, at line 8"),
        (3, "assertion failed at line 9: .*thread \\(31, 0, 0\\) of block \\(0, 0, 0\\)"),
    ],
)
def test_threads_that_wait_wrongly(cupy: Any, which: int, words: str) -> None:
    with pytest.raises(launching.KernelError, match=words):
        _run(cupy, _WRONG, (np.int32(which),))


# ----------------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({3: 64}, launching.LaunchError, "32-bit int: got np.int64"),
        ({2: 2.5}, launching.LaunchError, "32-bit float: got np.float64"),
        ({2: np.int32(2)}, launching.LaunchError, "32-bit float"),
        ({3: np.uint32(2**31)}, launching.LaunchError, "does not fit"),
        ({0: np.ones(64, np.float32)}, TypeError, "Unsupported type <class 'numpy.ndarray'>"),
        ({0: np.float32(1)}, launching.LaunchError, "got the number"),
        ({0: "float64"}, launching.LaunchError, "got an array of float64"),
        ({0: "strided"}, launching.LaunchError, "make it contiguous"),
        ({3: "float32"}, launching.LaunchError, "got an array"),
    ],
)
def test_arguments_that_do_not_fit(cupy: Any, change: dict[int, Any], error: type[Exception], words: str) -> None:
    arrays = {
        "float64": cupy.ones(64),
        "float32": cupy.ones(64, "float32"),
        "strided": cupy.ones(128, "float32")[::2],
    }
    args = [cupy.ones(64, "float32"), cupy.empty(64, "float32"), np.float32(1), np.int32(64)]
    for i, value in change.items():
        args[i] = arrays[value] if isinstance(value, str) else value
    with pytest.raises(error, match=words), counts.watch() as seen:
        cupy.RawKernel(SCALE, "scale")((1,), (64,), tuple(args))
    assert not seen.launches


def test_a_strided_array_by_its_address(cupy: Any) -> None:
    x, y = cupy.arange(128, dtype="float32")[::2], cupy.empty(64, "float32")
    cupy.RawKernel(SCALE, "scale")((1,), (64,), (x.data, y, np.float32(1), np.int32(64)))
    np.testing.assert_array_equal(y.get(), np.arange(64))


def test_the_number_of_arguments(cupy: Any) -> None:
    with pytest.raises(launching.LaunchError, match="scale takes 4 arguments, got 3"):
        cupy.RawKernel(SCALE, "scale")((1,), (64,), (cupy.ones(1, "float32"), cupy.ones(1, "float32"), np.float32(1)))


@pytest.mark.parametrize(
    ("grid", "block", "words"),
    [
        ((0,), (32,), "invalid argument"),
        ((1,), (0,), "invalid argument"),
        ((1,), (257,), "launch bounds of 256"),
        ((1,), (1025,), "invalid argument"),
        ((1,), (1, 1, 65), "invalid argument"),
        ((1, 65536), (32,), "invalid argument"),
        ((2**31,), (32,), "invalid argument"),
    ],
)
def test_grids_and_blocks_out_of_range(cupy: Any, grid: Any, block: Any, words: str) -> None:
    x = cupy.ones(1, "float32")
    with pytest.raises(CUDADriverError, match=words):
        cupy.RawKernel(SCALE, "scale")(grid, block, (x, x, np.float32(1), np.int32(0)))


def test_shared_memory_beyond_48_kib_is_asked_for(cupy: Any) -> None:
    kernel = cupy.RawKernel(
        'extern "C" __global__ void k() { extern __shared__ char room[]; room[threadIdx.x] = 1; }', "k"
    )
    with pytest.raises(CUDADriverError, match="49153 bytes of shared memory"):
        kernel((1,), (32,), (), shared_mem=49153)
    kernel.max_dynamic_shared_size_bytes = 96 << 10
    kernel((1,), (32,), (), shared_mem=96 << 10)
    with pytest.raises(CUDADriverError):
        kernel.max_dynamic_shared_size_bytes = 228 << 10
    text = (
        'extern "C" __global__ void k(int* a, int i) { __shared__ char room[49153]; room[i] = 1; a[0] = room[a[1]]; }'
    )
    large = cupy.RawKernel(text, "k")
    assert large.shared_size_bytes == 49153
    with pytest.raises(CUDADriverError, match="49153 shared bytes"):
        large((1,), (1,), (cupy.zeros(2, "int32"), np.int32(0)))


def test_texts_that_do_not_compile(cupy: Any) -> None:
    with pytest.raises(CompileException, match="kernel.cu:2.*nonsense"):
        cupy.RawKernel('extern "C" __global__ void k() {\nnonsense;\n}', "k").compile()
    with pytest.raises(CompileException, match="does not know the compiler option"):
        cupy.RawKernel(SCALE, "scale", ("--wonder",)).compile()
    for text, name in ((SCALE, "scales"), ("__global__ void k() {}", "k")):  # no such kernel; no extern "C"
        with pytest.raises(CUDADriverError, match="named symbol not found"):
            cupy.RawKernel(text, name).compile()


def test_a_module_with_options_and_templates(cupy: Any) -> None:
    text = """template <class T> __global__ void fill(T* a, T v) { a[threadIdx.x] = v * FACTOR; }
    extern "C" __global__ void one(double* a) { a[threadIdx.x] = 1; }"""
    module = cupy.RawModule(code=text, options=("-DFACTOR=3", "--use_fast_math"), name_expressions=["fill<float>"])
    a, b = cupy.empty(8, "float32"), cupy.empty(8)
    module.get_function("fill<float>")((1,), (8,), (a, np.float32(0.5)))
    module.get_function("one")((1,), (8,), (b,))
    assert (a.get() == 1.5).all()
    assert (b.get() == 1.0).all()
    with pytest.raises(CUDADriverError):
        module.get_function("fill<double>")


@pytest.mark.parametrize("at", [-1, 3])
def test_writing_beside_an_array(cupy: Any, at: int) -> None:
    a = cupy.zeros(3, "int32")
    with pytest.raises(IllegalAccessError, match="kernel k wrote outside of an array of 12 bytes"):
        _run(cupy, f'extern "C" __global__ void k(int* a) {{ a[{at}] = 0; }}', (a,), block=1)


def test_vectors_want_alignment(cupy: Any) -> None:
    a, text = cupy.zeros(9, "float32"), 'extern "C" __global__ void k(float4* a) { a[0].w = 2.0f; }'
    _run(cupy, text, (a[4:],), block=1)
    assert a.get().tolist() == [0.0] * 7 + [2.0, 0.0]
    with pytest.raises(launching.LaunchError, match="no multiple of 16"):
        _run(cupy, text, (a[1:],), block=1)


def test_halves_round_as_numpys(cupy: Any) -> None:
    bits = np.arange(65536, dtype=np.uint32).astype(np.uint16)
    every = cupy.asarray(bits.view(np.float16))
    floats, back = cupy.empty(65536, "float32"), cupy.empty(65536, "float16")
    text = """#include <cuda_fp16.h>
    extern "C" __global__ void k(const __half* h, float* f, const float* g, __half* back) {
        int i = blockIdx.x * blockDim.x + threadIdx.x;
        f[i] = __half2float(h[i]);
        back[i] = __float2half(g[i]);
    }"""
    # Numbers between halves, at halves of their steps, beyond the largest and below the smallest.
    random = np.random.default_rng(0)
    g = (random.standard_normal(65536) * 2.0 ** random.integers(-28, 18, 65536)).astype(np.float32)
    finite = np.abs(bits.view(np.float16)[:30000].astype(np.float32))
    g[:29999] = (finite[:-1] + finite[1:]) / 2
    cupy.RawKernel(text, "k")((256,), (256,), (every, floats, cupy.asarray(g), back))
    np.testing.assert_array_equal(floats.get(), bits.view(np.float16).astype(np.float32))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(back.get(), g.astype(np.float16))


def test_64_bit_products(cupy: Any) -> None:
    a = cupy.empty(3, "uint64")
    text = """extern "C" __global__ void k(unsigned long long* a) {
        a[0] = __umulhi(0xdeadbeefu, 0xfeedface);
        a[1] = __umul64hi(0xdeadbeefdeadbeefull, 0xfeedfacefeedfaceull);
        a[2] = atomicAdd(&a[2], 0ull) * 0 + min(3, 5) + max(2u, 9u);
    }"""
    _run(cupy, text, (a,), block=1)
    large = 0xDEADBEEFDEADBEEF * 0xFEEDFACEFEEDFACE >> 64
    assert a.get().tolist() == [0xDEADBEEF * 0xFEEDFACE >> 32, large, 12]
