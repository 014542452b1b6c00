"""Every kernel against `xpcnn.ops.reference` in float64, over random shapes, for this machine and for lesser ones."""

from __future__ import annotations

import platform
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.oracles import assert_close
from xpcnn.errors import ShapeError
from xpcnn.ops import reference
from xpcnn.ops.cpu.compiled import ConvKernels
from xpcnn.ops.cpu.compiled.host import Host

llvm = pytest.importorskip(
    "llvmlite.binding", reason="the compiled kernels need llvmlite (extra fast)", exc_type=ImportError
)


GUARD = 77.0
# This machine's own vectors, and on x86 those of the least processor; of one with AVX2 where this has it.
HOSTS: list[Host | None] = [None]
if platform.machine() in ("x86_64", "AMD64"):
    HOSTS.append(Host("x86-64", "", 4, 16))
    features = llvm.get_host_cpu_features()
    if features["avx2"] and features["fma"] and features["bmi2"]:
        HOSTS.append(Host("haswell", "", 8, 16))


class Case(NamedTuple):
    N: int
    C: int
    FN: int
    FH: int
    FW: int
    stride: tuple[int, int]
    extra: tuple[int, int]  # how much larger than the filter the padded picture is
    host: Host | None

    def kernels(self) -> ConvKernels:
        return ConvKernels(self.C, self.FN, self.FH, self.FW, *self.stride, IW=self.width, host=self.host)

    @property
    def width(self) -> int:
        return self.FW + self.extra[1]

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x (NHWC), w (FH, FW, C, FN), b."""
        rng = np.random.default_rng(0)
        x = rng.uniform(-1.0, 1.0, (self.N, self.FH + self.extra[0], self.width, self.C)).astype(np.float32)
        w = rng.uniform(-1.0, 1.0, (self.FH, self.FW, self.C, self.FN)).astype(np.float32)
        return x, w, rng.uniform(-1.0, 1.0, self.FN).astype(np.float32)

    @property
    def terms(self) -> int:
        return self.C * self.FH * self.FW + 1


SMALL = st.integers(1, 5)
CHANNELS = st.one_of(st.integers(1, 20), st.integers(1, 70))
CASES = st.builds(
    Case,
    N=st.integers(1, 3),
    C=CHANNELS,
    FN=CHANNELS,
    FH=st.one_of(SMALL, st.just(7)),
    FW=st.one_of(SMALL, st.just(7)),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    extra=st.tuples(st.integers(0, 9), st.integers(0, 33)),
    host=st.sampled_from(HOSTS),
)
over_shapes = settings(derandomize=True, deadline=None, max_examples=200, database=None)


def nchw(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a.transpose(0, 3, 1, 2), dtype=np.float64)


def filters(w: np.ndarray) -> np.ndarray:
    """(FH, FW, C, FN) as the reference has them."""
    return np.ascontiguousarray(w.transpose(3, 2, 0, 1), dtype=np.float64)


class Guarded:
    """An NHWC array inside a larger buffer of guard values."""

    def __init__(self, shape: tuple[int, ...], dtype: type = np.float32) -> None:
        N, H, W, C = shape
        self.buffer = np.full((N + 2, H + 3, W + 2, C), GUARD, dtype)
        self.array = self.buffer[1 : N + 1, 1 : H + 1, 1 : W + 1]

    def check(self) -> np.ndarray:
        """The array; nothing around it has changed."""
        outside = self.buffer.copy()
        N, H, W, _ = self.array.shape
        outside[1 : N + 1, 1 : H + 1, 1 : W + 1] = GUARD
        assert (outside == GUARD).all()
        return self.array


def guarded_flat(shape: tuple[int, ...], value: float) -> tuple[np.ndarray, np.ndarray]:
    """A contiguous array with 16 guard values on both sides, and those."""
    size = int(np.prod(shape))
    buffer = np.full(size + 32, GUARD, np.float32)
    inside = buffer[16 : size + 16].reshape(shape)
    inside[...] = value
    return inside, np.concatenate([buffer[:16], buffer[-16:]])


def gradient(case: Case, shape: tuple[int, ...]) -> Guarded:
    g = Guarded(shape)
    g.array[...] = np.random.default_rng(1).uniform(-1.0, 1.0, shape)
    return g


# All values are at most 1, so a sum of n products is at most n: the magnitude of oracles.assert_close.
@given(CASES)
@over_shapes
def test_forward_equals_the_reference(case: Case) -> None:
    x, w, b = case.arrays()
    want, _ = reference.conv2d_forward(nchw(x), filters(w), b.astype(np.float64), case.stride)
    kernels, out = case.kernels(), Guarded((len(x), *want.shape[2:], case.FN))
    kernels.forward(x, w, b, out.array)
    assert_close(nchw(out.check()).astype(np.float32), want, case.terms, case.terms)
    kernels.forward(x, w, None, out.array, relu=True)
    want = np.maximum(want - b[:, None, None], 0.0)
    assert_close(nchw(out.check()).astype(np.float32), want, case.terms, case.terms)


@given(CASES, st.booleans(), st.booleans())
@over_shapes
def test_forward_pool_is_the_reference_pooling_of_forward_to_the_bit(case: Case, relu: bool, coarse: bool) -> None:
    """The pool kernel makes the same sums as the forward kernel, so its choices are exactly those on forward's output.

    coarse: whole numbers from -1 to 1, so that equal sums abound.
    """
    x, w, b = (np.rint(a) if coarse else a for a in case.arrays())
    kernels = case.kernels()
    OH = case.extra[0] // case.stride[0] + 1
    assume(OH >= 2 and kernels.OW >= 2)
    unpooled = np.empty((len(x), OH, kernels.OW, case.FN), np.float32)
    kernels.forward(x, w, b, unpooled)
    want, winner = reference.max_pool2d_forward(unpooled.transpose(0, 3, 1, 2), 2, 2, 2)
    pooled = (len(x), OH // 2, kernels.OW // 2, case.FN)
    out, index = Guarded(pooled), Guarded(pooled, np.uint8)
    kernels.forward_pool(x, w, b, out.array, index.array, relu=relu)
    want = np.maximum(want, np.float32(0.0)) if relu else want
    np.testing.assert_array_equal(out.check().transpose(0, 3, 1, 2), want)
    np.testing.assert_array_equal(index.check().transpose(0, 3, 1, 2), winner)


@given(CASES)
@over_shapes
def test_weight_and_bias_gradients_equal_the_reference_and_are_added(case: Case) -> None:
    x, w, _ = case.arrays()
    y, col = reference.conv2d_forward(nchw(x), filters(w), None, case.stride)
    N, FN, OH, OW = y.shape
    g = gradient(case, (N, OH, OW, FN))
    _, want_w, want_b = reference.conv2d_backward(
        nchw(g.array), col, filters(w), nchw(x).shape, case.stride, need_dx=False
    )
    kernels, terms = case.kernels(), N * OH * OW + 1
    (dw, guards_w), (db, guards_b) = guarded_flat(w.shape, 1.0), guarded_flat((FN,), -1.0)
    kernels.grad_w(x, g.array, dw)
    kernels.bias_grad(g.array, db)
    assert_close(dw, want_w.transpose(2, 3, 1, 0) + 1.0, terms, terms)
    assert_close(db, want_b - 1.0, terms, terms)
    assert (np.concatenate([guards_w, guards_b]) == GUARD).all()


@given(CASES, st.booleans())
@over_shapes
def test_unpool_relu_equals_the_reference_exactly(case: Case, relu: bool) -> None:
    kernels, rng = case.kernels(), np.random.default_rng(3)
    OH = case.extra[0] + 1
    full, pooled = (case.N, OH, kernels.OW, case.FN), (case.N, OH // 2, kernels.OW // 2, case.FN)
    dout, y, index, g = Guarded(pooled), Guarded(pooled), Guarded(pooled, np.uint8), Guarded(full)
    dout.array[...] = rng.standard_normal(pooled)
    y.array[...] = rng.integers(-1, 2, pooled)
    index.array[...] = rng.integers(0, 4, pooled)
    want = np.zeros((case.N, case.FN, OH, kernels.OW))
    if dout.array.size:
        shape = (case.N, case.FN, OH, kernels.OW)
        alive = dout.array * (y.array > 0) if relu else dout.array
        want = reference.max_pool2d_backward(nchw(alive), index.array.transpose(0, 3, 1, 2), shape, 2, 2, 2)
    kernels.unpool_relu(dout.array, index.array, y.array if relu else None, g.array)
    np.testing.assert_array_equal(g.check().transpose(0, 3, 1, 2), want)


@pytest.mark.parametrize("host", HOSTS)
def test_a_nan_wins_its_window_and_passes_relu(host: Host | None) -> None:
    """Two NaNs in one window: the first is the winner, as in the reference."""
    x = np.zeros((1, 4, 4, 1), np.float32)
    x[0, 0, 1] = x[0, 1, 1] = x[0, 3, 2] = np.nan
    x[0, 2, 3] = np.inf
    w, b = np.ones((1, 1, 1, 20), np.float32), np.zeros(20, np.float32)
    out, index = np.empty((1, 2, 2, 20), np.float32), np.empty((1, 2, 2, 20), np.uint8)
    ConvKernels(1, 20, 1, 1, IW=4, host=host).forward_pool(x, w, b, out, index)
    want, winner = reference.max_pool2d_forward(x.transpose(0, 3, 1, 2), 2, 2, 2)
    np.testing.assert_array_equal(out[..., :1].transpose(0, 3, 1, 2), want)
    assert (out[..., :1] == out)[~np.isnan(out)].all()
    assert (index.transpose(0, 3, 1, 2) == winner).all()


def test_sums_do_not_depend_on_how_a_batch_is_cut() -> None:
    """Each output is one sum in one order: a picture alone gives the bits it gives among others."""
    x, w, b = Case(5, 13, 21, 3, 3, (1, 1), (7, 10), None).arrays()
    kernels = ConvKernels(13, 21, 3, 3, IW=13)
    together, alone = np.empty((5, 8, 11, 21), np.float32), np.empty((1, 8, 11, 21), np.float32)
    kernels.forward(x, w, b, together)
    for i in range(5):
        kernels.forward(x[i : i + 1], w, b, alone)
        np.testing.assert_array_equal(alone[0], together[i])


def test_large_pictures_are_summed_in_chunks_of_rows() -> None:
    """One picture larger than a chunk, with a stride: the chunks' seams neither miss nor repeat a row."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1.0, 1.0, (2, 143, 95, 16)).astype(np.float32)
    kernels = ConvKernels(16, 16, 3, 3, 2, 2, IW=95)
    g = rng.uniform(-1.0, 1.0, (2, 71, 47, 16)).astype(np.float32)
    dw = np.zeros((3, 3, 16, 16), np.float32)
    call = kernels.grad_w(x, g, dw)
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (3, 3), axis=(1, 2))[:, ::2, ::2]
    want = np.einsum("nhwcij,nhwf->ijcf", windows, g.astype(np.float64), optimize=True)
    assert_close(dw, want, 2 * 71 * 47, 2 * 71 * 47)
    call()
    assert_close(dw, 2.0 * want, 4 * 71 * 47, 4 * 71 * 47)


def test_threads_share_kernels_and_the_call_that_is_returned_can_be_repeated() -> None:
    """Eight threads at once on a shape not compiled before: same bits as one after another."""
    case = Case(1, 11, 19, 3, 2, (1, 1), (20, 20), None)
    x, w, b = case.arrays()
    inputs = [x * np.float32(i + 1) for i in range(8)]
    kernels = case.kernels()

    def work(i: int) -> np.ndarray:
        out = np.empty((1, 21, 21, 19), np.float32)
        call = kernels.forward(inputs[i], w, b, out)
        for _ in range(20):
            out[...] = np.nan
            call()
        return out

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(work, range(8)))
    for i in range(8):
        np.testing.assert_array_equal(together[i], work(i))


def test_no_pictures_is_no_work() -> None:
    kernels = ConvKernels(2, 3, 2, 2, IW=5)
    x, w, out = (
        np.empty((0, 4, 5, 2), np.float32),
        np.ones((2, 2, 2, 3), np.float32),
        np.empty((0, 3, 4, 3), np.float32),
    )
    kernels.forward(x, w, None, out)
    dw, db = np.ones_like(w), np.ones(3, np.float32)
    kernels.grad_w(x, out, dw)
    kernels.bias_grad(out, db)
    kernels.bias_grad(np.empty((2, 0, 4, 3), np.float32), db)
    assert (dw == 1.0).all()
    assert (db == 1.0).all()


GOOD = {
    "x": np.ones((1, 4, 5, 2), np.float32),
    "w": np.ones((2, 2, 2, 3), np.float32),
    "b": np.ones(3, np.float32),
    "out": np.ones((1, 3, 4, 3), np.float32),
}
READ_ONLY = np.ones((1, 3, 4, 3), np.float32)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("name", "wrong", "words"),
    [
        ("x", np.ones((1, 4, 6, 2), np.float32), r"x must be float32 of shape \(1, 4, 5, 2\).*\(1, 4, 6, 2\)"),
        ("x", np.ones((1, 4, 5, 2)), "float64"),
        ("x", np.ones((1, 1, 5, 2), np.float32), "Hp >= 2"),
        ("x", [1.0], "x must be"),
        ("x", np.ones((1, 2, 5, 4), np.float32).transpose(0, 3, 2, 1), "contiguous"),
        ("x", np.ones((1, 4, 9, 2), np.float32)[:, :, 2:7], "one after another"),
        ("w", np.ones((2, 2, 3, 2), np.float32).swapaxes(2, 3), "C-contiguous"),
        ("w", np.ones((2, 2, 2, 4), np.float32), "w must be"),
        ("b", np.ones(4, np.float32), "b must be"),
        ("out", np.ones((1, 3, 4, 3), np.float32)[:, :, ::-1], "out must be contiguous"),
        ("out", np.ones((1, 4, 4, 3), np.float32), "out must be"),
        ("out", READ_ONLY, "read-only"),
        ("out", np.ones(145, np.uint8)[1:].view(np.float32).reshape(1, 3, 4, 3), "aligned"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(name: str, wrong: object, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        ConvKernels(2, 3, 2, 2, IW=5).forward(**{**GOOD, name: wrong})  # type: ignore[arg-type]


def test_a_row_shorter_than_the_filter_is_refused() -> None:
    with pytest.raises(ShapeError, match="IW=2"):
        ConvKernels(1, 1, 3, 3, IW=2)
