"""Dropout: how many fall, both rules, and masks that depend on seed, stream, step and place alone."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError
from xpcnn.layers import Context, Dropout


def _mask(layer: Dropout, shape: tuple[int, ...], device: Device, **names: int) -> np.ndarray:
    ctx = Context(train=True, **names)
    return asnumpy(layer.forward_in(ctx, device.xp.ones(shape, dtype="float32"))) != 0.0


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_the_share_that_falls(device: Device, ratio: float) -> None:
    kept = _mask(Dropout(ratio, seed=0), (100, 400), device, step=0)
    # A binomial share of 40,000 draws; six standard deviations, and the seed is fixed.
    assert abs(1.0 - kept.mean() - ratio) < 6.0 * math.sqrt(ratio * (1.0 - ratio) / kept.size)
    # Nor do whole rows or columns fall more than others.
    assert abs(kept.mean(axis=1) - kept.mean()).max() < 6.0 * math.sqrt(0.25 / 400)
    assert abs(kept.mean(axis=0) - kept.mean()).max() < 6.0 * math.sqrt(0.25 / 100)


def test_inverted_and_the_books_rule(device: Device) -> None:
    x = device.asarray(np.random.default_rng(0).standard_normal((7, 11)), "float32")
    inverted, book = Dropout(0.25, seed=1), Dropout(0.25, inverted=False, seed=1)
    y_inverted, y_book = (asnumpy(layer.forward(x, train=True)) for layer in (inverted, book))
    host, kept = asnumpy(x), y_book != 0.0
    assert 0 < kept.sum() < kept.size
    np.testing.assert_array_equal(y_book, np.where(kept, host, 0.0))
    np.testing.assert_array_equal(y_inverted, np.where(kept, host * np.float32(1.0 / 0.75), 0.0))
    np.testing.assert_array_equal(asnumpy(inverted.forward(x)), host)  # test time changes nothing
    np.testing.assert_array_equal(asnumpy(book.forward(x)), host * np.float32(0.75))


@pytest.mark.parametrize("inverted", [True, False])
@pytest.mark.parametrize("train", [True, False])
def test_the_gradient_takes_the_same_way(device: Device, inverted: bool, train: bool) -> None:
    layer = Dropout(0.5, inverted, seed=2)
    x = device.xp.ones((5, 9), dtype="float32")
    y = layer.forward(x, train=train)
    np.testing.assert_array_equal(asnumpy(layer.backward(x)), asnumpy(y))


def test_the_mask_is_named_by_seed_stream_and_step(device: Device) -> None:
    layer = Dropout(0.5)
    names = {"seed": 1, "stream": 2, "step": 3}
    same = _mask(layer, (4, 50), device, **names)
    np.testing.assert_array_equal(_mask(Dropout(0.5), (4, 50), device, **names), same)
    for changed in names:
        assert not np.array_equal(_mask(layer, (4, 50), device, **{**names, changed: 9}), same)


@pytest.mark.parametrize("shape", [(11, 13), (7, 3, 5, 3), (9, 1)])
@pytest.mark.parametrize("cuts", [(1,), (2, 5), (3, 4, 6)])
def test_pieces_give_the_masks_of_the_whole(device: Device, shape: tuple[int, ...], cuts: tuple[int, ...]) -> None:
    layer = Dropout(0.4)
    whole = _mask(layer, shape, device, seed=1, stream=2, step=3)
    edges = (0, *cuts, shape[0])
    pieces = [
        _mask(layer, (b - a, *shape[1:]), device, seed=1, stream=2, step=3, first=a)
        for a, b in itertools.pairwise(edges)
    ]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_alone_each_forward_draws_anew_and_a_seed_repeats_them() -> None:
    x = np.ones((4, 50), dtype=np.float32)
    a, b = Dropout(0.5, seed=3), Dropout(0.5, seed=3)
    first, second = a.forward(x, train=True), a.forward(x, train=True)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(b.forward(x, train=True), first)
    np.testing.assert_array_equal(b.forward(x, train=True), second)
    assert not np.array_equal(Dropout(0.5).forward(x, train=True), Dropout(0.5).forward(x, train=True))


def test_a_ratio_of_zero_keeps_all() -> None:
    x = np.random.default_rng(4).standard_normal((3, 5))
    np.testing.assert_array_equal(Dropout(0.0).forward(x, train=True), x)


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 1.5, math.nan])
def test_ratios_that_make_no_sense(ratio: float) -> None:
    with pytest.raises(ConfigError, match="0 <= ratio < 1"):
        Dropout(ratio)
