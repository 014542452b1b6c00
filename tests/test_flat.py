"""A network's parameters side by side in one array, and optimizers that update them there."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn import Sequential
from xpcnn.flat import FlatArrays
from xpcnn.layers import affine, conv
from xpcnn.optimizers import make_optimizer
from xpcnn.params import ArrayView, book_names

_RATES = {"sgd": {}, "momentum": {}, "nesterov": {}, "adagrad": {}, "rmsprop": {}, "adam": {}, "adamw": {}}
_CLIPPED = {"adam": {"clip_norm": 0.5, "weight_decay": 0.1}, "sgd": {"clip_value": 0.01}}


def _network() -> Sequential:
    return Sequential([conv(3, 3), "relu", "flatten", affine(5)], (2, 6, 6), seed=3, param_names="book")


def _flattened(net: Sequential) -> FlatArrays:
    flat = FlatArrays(net.layers.values(), np, net.dtype)
    places = book_names(net.nodes)
    net.params, net.grads = ArrayView(places, "params", flat), ArrayView(places, "grads", flat)
    return flat


def test_parameters_keep_their_values_and_become_views() -> None:
    plain, net = _network(), _network()
    flat = _flattened(net)
    for name, a in plain.params.items():
        np.testing.assert_array_equal(net.params[name], a)
        assert np.shares_memory(net.params[name], flat.params)
        assert net.params[name].ctypes.data % 4 == (net.params[name].ctypes.data - flat.params.ctypes.data) % 256 == 0
    net.params["b1"] = np.full(3, 7.0)
    assert np.count_nonzero(flat.params == 7.0) == 3


def test_a_layer_that_stands_at_two_places_is_there_once() -> None:
    net = _network()
    layer = net.layers["affine1"]
    assert FlatArrays([layer, layer], np, net.dtype).size == FlatArrays([layer], np, net.dtype).size


@pytest.mark.parametrize(
    ("name", "param"), [*_RATES.items(), *_CLIPPED.items()], ids=lambda v: v if isinstance(v, str) else ""
)
def test_an_update_of_all_at_once_gives_what_one_by_one_gives(name: str, param: dict[str, float]) -> None:
    plain, net = _network(), _network()
    flat = _flattened(net)
    one_by_one, at_once = make_optimizer(name, **param), make_optimizer(name, **param)
    rng = np.random.default_rng(0)
    for _ in range(3):
        grads = {key: rng.standard_normal(a.shape).astype(np.float32) for key, a in plain.params.items()}
        for key, g in grads.items():
            net.grads[key] = g
        one_by_one.update(plain.params, grads)
        at_once.update(net.params, net.grads)
        for key in plain.params:
            # The clipped norm is summed in another order: a few units in the last place of its factor.
            np.testing.assert_allclose(net.params[key], plain.params[key], rtol=1e-6 if param else 0, atol=0)
    used = sum(a.size for a in plain.params.values())
    assert np.count_nonzero(flat.params) <= used  # what lies between the arrays stays zero
    wanted, found = one_by_one.state_dict(), at_once.state_dict()
    assert wanted.keys() == found.keys()
    for key, a in wanted.items():
        np.testing.assert_allclose(found[key], a, rtol=1e-6 if param else 0, atol=0)


def test_state_from_arrays_apart_goes_on_side_by_side() -> None:
    plain, net = _network(), _network()
    _flattened(net)
    first, second = make_optimizer("adam"), make_optimizer("adam")
    grads = {key: np.full(a.shape, 0.25, np.float32) for key, a in plain.params.items()}
    first.update(plain.params, grads)
    second.load_state_dict(first.state_dict())
    for key in grads:
        net.params[key] = plain.params[key]
        net.grads[key] = grads[key]
    first.update(plain.params, grads)
    second.update(net.params, net.grads)
    for key in grads:
        np.testing.assert_array_equal(net.params[key], plain.params[key])
