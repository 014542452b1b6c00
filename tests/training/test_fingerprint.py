import hashlib

import numpy as np
import pytest

from xpcnn.training import fingerprint as module
from xpcnn.training.fingerprint import fingerprint

X = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
T = np.array([0, 1])


def test_to_the_letter():
    digest = hashlib.sha256(X.tobytes() + T.tobytes()).hexdigest()
    assert fingerprint(X, T) == f"uint8 2x3x4 and int64 2, {digest[:16]}"


@pytest.mark.parametrize(
    ("x", "t"),
    [
        (X.reshape(2, 4, 3), T),
        (X.astype(np.int8), T),
        (X, T.astype(np.int32)),
        (X[::-1], T),
        (X, T[::-1]),
        (X ^ (np.arange(24).reshape(X.shape) == 23), T),
    ],
)
def test_another_shape_dtype_order_or_bit_is_another(x, t):
    assert fingerprint(x, t) != fingerprint(X, T)


def test_the_memory_order_and_the_blocks_are_not_in_it(monkeypatch):
    want = fingerprint(X, T)
    assert fingerprint(np.asfortranarray(X), T) == want
    assert fingerprint(np.repeat(X, 2, axis=0)[::2], np.repeat(T, 3)[::3]) == want
    for block in (1, 13, 25):
        monkeypatch.setattr(module, "_BLOCK", block)
        assert fingerprint(X, T) == want


def test_samples_of_nothing():
    assert fingerprint(np.zeros((2, 0), np.float32), T).startswith("float32 2x0 and int64 2, ")
