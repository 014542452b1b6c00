"""The live view of a network's arrays, and matching a file's arrays against it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xpcnn.errors import CheckpointError, ShapeError
from xpcnn.graph import build_graph
from xpcnn.layers import Affine, Layer, affine, batch_norm, conv
from xpcnn.params import ArrayView, book_names, layer_names, match_arrays, state_names

F32 = np.dtype("float32")


def _layer(**arrays: np.ndarray) -> Layer:
    layer = Layer()
    layer.params.update(arrays)
    return layer


def test_names() -> None:
    nodes = build_graph([conv(2, 3), batch_norm(), "relu", ("out", affine(3, bias=False))], (1, 4, 4), 0, F32, "he")
    assert list(layer_names(nodes)) == ["conv1.W", "conv1.b", "norm1.gamma", "norm1.beta", "out.W"]
    assert list(book_names(nodes)) == ["W1", "b1", "gamma1", "beta1", "W2"]
    assert list(state_names(nodes)) == ["norm1.running_mean", "norm1.running_var"]
    assert book_names(nodes)["W2"] == (nodes["out"].layer, "W")


def test_a_layer_at_two_places_is_named_once() -> None:
    layer = Affine(np.zeros((4, 4)), np.zeros(4))
    nodes = build_graph([("a", layer), "relu", ("b", layer), ("c", affine(2))], (4,), 0, F32, "he")
    assert list(layer_names(nodes)) == ["a.W", "a.b", "c.W", "c.b"]
    assert list(book_names(nodes)) == ["W1", "b1", "W2", "b2"]


def _view() -> tuple[ArrayView, Layer]:
    layer = _layer(W=np.arange(6, dtype=np.float32).reshape(2, 3), b=np.zeros(3, dtype=np.float32))
    return ArrayView({"W1": (layer, "W"), "b1": (layer, "b")}, "params"), layer


def test_reading_gives_the_layers_own_array() -> None:
    view, layer = _view()
    assert view["W1"] is layer.params["W"]
    assert (list(view), len(view), "W1" in view, "W2" in view) == (["W1", "b1"], 2, True, False)
    layer.params["W"] = np.ones((2, 3), dtype=np.float32)  # live
    assert view["W1"] is layer.params["W"]
    assert repr(view) == "{'W1': float32(2, 3), 'b1': float32(3,)}"


@pytest.mark.parametrize("value", [np.full((2, 3), 2.5), [[2.5] * 3] * 2, np.full((2, 3), 2.5, dtype=np.float16)])
def test_writing_goes_into_the_same_array(value: Any) -> None:
    view, layer = _view()
    before = layer.params["W"]
    view["W1"] = value
    assert layer.params["W"] is before
    assert (before.dtype, before.tolist()) == (np.float32, [[2.5] * 3] * 2)


@pytest.mark.parametrize("value", [np.zeros((3, 2)), np.zeros(3), 0.0, np.zeros((1, 3))])
def test_another_shape_is_refused_and_nothing_written(value: Any) -> None:
    view, layer = _view()
    kept = layer.params["W"].copy()
    with pytest.raises(ShapeError, match=r"'W1' has shape \(2, 3\), got an array of shape"):
        view["W1"] = value
    np.testing.assert_array_equal(layer.params["W"], kept)


def test_names_neither_come_nor_go() -> None:
    view, _ = _view()
    with pytest.raises(KeyError, match="W9"):
        view["W9"]
    with pytest.raises(KeyError, match="'W9' is not one of W1, b1"):
        view["W9"] = np.zeros(3)
    with pytest.raises(TypeError, match="cannot be removed"):
        del view["W1"]
    with pytest.raises(TypeError, match="cannot be removed"):
        view.pop("W1")
    with pytest.raises(TypeError, match="cannot be removed"):
        view.clear()
    assert list(view) == ["W1", "b1"]


def test_gradients_that_are_not_there_yet() -> None:
    _, layer = _view()
    view = ArrayView({"W1": (layer, "W")}, "grads")
    assert "W1" not in view
    assert repr(view) == "{'W1': not yet}"
    with pytest.raises(KeyError, match="'W1' has no gradient yet; call gradient first"):
        view["W1"]
    layer.grads["W"] = np.zeros((2, 3))
    assert view["W1"] is layer.grads["W"]


# -------------------------------------------------------------------------------------------------------- matching
_WANTED = {"W1": np.zeros((2, 3), dtype=np.float32), "b1": np.zeros(3, dtype=np.float32)}


def test_a_fit() -> None:
    found = {"b1": np.ones(3), "W1": np.ones((2, 3), dtype=np.int16)}
    matched = match_arrays(_WANTED, found, "file")
    assert list(matched) == ["W1", "b1"]
    assert all(matched[name] is found[name] for name in found)


def test_every_fault_is_listed_with_both_shapes() -> None:
    found = {"W1": np.zeros((3, 2)), "W2": np.zeros(1), "c": np.zeros(1)}
    with pytest.raises(CheckpointError) as raised:
        match_arrays(_WANTED, found, "weights.npz")
    assert str(raised.value).splitlines() == [
        "weights.npz does not fit this network:",
        "  W1: the network has (2, 3), the file (3, 2)",
        "  b1: missing in the file",
        "  W2: not in the network",
        "  c: not in the network",
    ]


def test_partial() -> None:
    assert list(match_arrays(_WANTED, {"b1": np.ones(3), "c": np.ones(1)}, "file", partial=True)) == ["b1"]
    assert match_arrays(_WANTED, {}, "file", partial=True) == {}
    with pytest.raises(CheckpointError, match=r"b1: the network has \(3,\), the file \(4,\)"):
        match_arrays(_WANTED, {"b1": np.ones(4)}, "file", partial=True)


@pytest.mark.parametrize("array", [np.array(["a", "b", "c"]), np.zeros(3, dtype=complex), np.zeros(3, dtype=bool)])
def test_arrays_that_are_no_real_numbers(array: np.ndarray) -> None:
    with pytest.raises(CheckpointError, match=f"b1: the file holds {array.dtype}, not numbers"):
        match_arrays(_WANTED, {"W1": np.zeros((2, 3)), "b1": array}, "file")


def test_numbers_that_would_become_infinite() -> None:
    wanted = {"b1": np.zeros(3, np.float32)}
    for number in (1e39, -1e39):
        with pytest.raises(CheckpointError, match="b1: the file holds numbers beyond those of float32"):
            match_arrays(wanted, {"b1": np.array([0.0, number, 1.0])}, "file")
    for fine in (np.array([np.inf, np.nan, 3.4e38]), np.array([2**63 - 1] * 3), np.array([6e4] * 3, np.float16)):
        assert list(match_arrays(wanted, {"b1": fine}, "file")) == ["b1"]


def test_names_of_strangers_are_shown_on_one_line() -> None:
    with pytest.raises(CheckpointError) as raised:
        match_arrays({}, {f"\x1b[2J{i}\n" + "x" * 5000: np.ones(1) for i in range(1200)}, "file")
    lines = str(raised.value).splitlines()
    assert len(lines) == 1002
    assert lines[-1] == "  and 200 more"
    assert all(line.isprintable() and len(line) < 300 for line in lines)
