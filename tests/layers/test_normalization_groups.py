"""Normalisation layers that take each sample by itself, and batch normalisation without running statistics."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.layers.soundness import check_sound
from xpcnn import Sequential
from xpcnn.device import Device, asnumpy
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers import (
    BatchNormalization,
    GroupNormalization,
    InstanceNormalization,
    Layer,
    LayerNormalization,
    LpNormalization,
    MeanVarianceNormalization,
    RMSNormalization,
    affine,
    conv,
    group_norm,
    instance_norm,
    layer_norm,
    rms_norm,
)
from xpcnn.layers.class_loss import ClassLosses

Make = Callable[..., Any]

SHAPE = (3, 4, 2, 5)

# Each sample by itself: (make a layer from a maker of parameters, shape of x).
LAYERS: dict[str, tuple[Callable[[Make], Layer], tuple[int, ...]]] = {
    "layer": (lambda p: LayerNormalization(p(4, 2, 5), p(4, 2, 5)), SHAPE),
    "layer, last axis": (lambda p: LayerNormalization(p(5), p(5), axis=-1, eps=1e-3), SHAPE),
    "layer, broadcast": (lambda p: LayerNormalization(p(2, 1), p(1), axis=1), SHAPE),
    "layer of rows": (lambda p: LayerNormalization(p(7), None), (3, 7)),
    "layer alone": (lambda p: LayerNormalization(None, axis=2), SHAPE),
    "groups": (lambda p: GroupNormalization(p(4), p(4), 2), SHAPE),
    "groups of rows": (lambda p: GroupNormalization(p(6), p(6), 2), (3, 6)),
    "instances": (lambda p: InstanceNormalization(p(4), p(4)), SHAPE),
    "instances of signals": (lambda p: InstanceNormalization(p(4), p(4)), (3, 4, 7)),
    "rms": (lambda p: RMSNormalization(p(4, 2, 5)), SHAPE),
    "rms, last axis": (lambda p: RMSNormalization(p(5), -1), SHAPE),
    "p = 1": (lambda p: LpNormalization(1, 1), SHAPE),
    "p = 2": (lambda p: LpNormalization(), SHAPE),
    "mean and variance": (lambda p: MeanVarianceNormalization(), SHAPE),
    "mean and variance over places": (lambda p: MeanVarianceNormalization((2, 3)), SHAPE),
}
each_layer = pytest.mark.parametrize("name", LAYERS)


def _maker(device: Device, dtype: str = "float64") -> Make:
    random = np.random.default_rng(7)
    return lambda *shape: device.asarray(random.standard_normal(shape), dtype)


def _x(*shape: int) -> np.ndarray:
    return np.random.default_rng(8).standard_normal(shape) * 2.0 + 0.5


@each_layer
def test_sound(device: Device, name: str) -> None:
    build, shape = LAYERS[name]
    check_sound(device, build(_maker(device)), _x(*shape))


@each_layer
def test_samples_do_not_mix_and_time_does_not_matter(device: Device, name: str) -> None:
    build, shape = LAYERS[name]
    layer, x = build(_maker(device)), device.asarray(_x(*shape))
    whole = asnumpy(layer.forward(x, train=True))
    alone = np.concatenate([asnumpy(layer.forward(x[i : i + 1])) for i in range(len(x))])
    np.testing.assert_allclose(alone, whole, rtol=0.0, atol=1e-14)  # sums of the same few numbers
    twin = copy.copy(layer)
    twin.params = {p: a * 2.0 for p, a in layer.params.items()}
    np.testing.assert_array_equal(asnumpy(layer.forward(x, train=True)), whole)


@pytest.mark.parametrize(
    "layer",
    [LayerNormalization(None, axis=0), LpNormalization(0), MeanVarianceNormalization((0, 2, 3))],
    ids=["layer", "norm", "mean and variance"],
)
def test_whole_arrays_may_be_normalised_over_n_but_no_networks(device: Device, layer: Layer) -> None:
    check_sound(device, layer, _x(*SHAPE), in_network=False)
    with pytest.raises(ShapeError, match=r"axis 0 is none of a sample's, 1 to 3 \(0 is N\), for samples \(4, 2, 5\)"):
        layer.output_shape(SHAPE[1:])


def test_groups_of_one_and_of_all_are_the_others(device: Device) -> None:
    make, x = _maker(device), device.asarray(_x(*SHAPE))
    gamma, beta = make(4), make(4)
    wide = [v.reshape(4, 1, 1) for v in (gamma, beta)]
    one, all_ = (GroupNormalization(gamma, beta, groups) for groups in (1, 4))
    # The same sums in another order.
    np.testing.assert_allclose(asnumpy(one.forward(x)), asnumpy(LayerNormalization(*wide).forward(x)), atol=1e-13)
    np.testing.assert_array_equal(asnumpy(all_.forward(x)), asnumpy(InstanceNormalization(gamma, beta).forward(x)))


# ------------------------------------------------------------------------------------- batches without running ones
def test_batch_norm_by_the_batch_alone(device: Device) -> None:
    make, x = _maker(device), device.asarray(_x(*SHAPE))
    gamma, beta = make(4), make(4)
    usual, layer = BatchNormalization(gamma, beta), BatchNormalization(gamma, beta, running=False)
    check_sound(device, layer, _x(*SHAPE), in_network=False)
    np.testing.assert_array_equal(asnumpy(layer.forward(x)), asnumpy(usual.forward(x, train=True)))
    with pytest.raises(ShapeError, match="mix at test time; use running=True"):
        layer.output_shape(SHAPE[1:])


# ------------------------------------------------------------------------------------------------------------ specs
def test_specs_infer_their_shapes() -> None:
    net = Sequential(
        [
            conv(4, 3),
            layer_norm(),
            conv(6, 3),
            group_norm(3, eps=1e-3),
            "instance_norm",
            layer_norm(-1),
            rms_norm(2),
            "rms_norm",
            "layer_norm",
            instance_norm(),
            affine(3),
        ],
        (1, 8, 8),
        seed=0,
    )
    shapes = {name: a.shape for name, a in net.params.items() if "norm" in name}
    assert shapes == {
        **{f"norm1.{p}": (4, 6, 6) for p in ("gamma", "beta")},
        **{f"norm2.{p}": (6,) for p in ("gamma", "beta")},
        **{f"norm3.{p}": (6,) for p in ("gamma", "beta")},
        **{f"norm4.{p}": (4,) for p in ("gamma", "beta")},
        "norm5.gamma": (4, 4),
        "norm6.gamma": (6, 4, 4),
        **{f"norm7.{p}": (6, 4, 4) for p in ("gamma", "beta")},
        **{f"norm8.{p}": (6,) for p in ("gamma", "beta")},
    }
    assert repr(group_norm(3)) == "group_norm(3)"


# ----------------------------------------------------------------------------------------------------------- losses
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("weighed", [False, True])
def test_losses_with_labels_as_an_input(device: Device, reduction: str, weighed: bool) -> None:
    log_p = -np.random.default_rng(1).uniform(0.1, 2.0, (2, 3, 4))
    t = np.array([[0, 2, 1, -1], [2, -1, 0, 0]])
    w = np.array([0.5, 2.0, 1.0]) if weighed else np.ones(3)
    layer = ClassLosses(reduction, -1)
    given = [device.asarray(a) for a in ([log_p, t, w] if weighed else [log_p, t])]
    losses, counts = np.zeros(t.shape), 0.0
    for n, i in np.ndindex(*t.shape):
        if t[n, i] >= 0:
            losses[n, i] = -w[t[n, i]] * log_p[n, t[n, i], i]
            counts += w[t[n, i]]
    want = {"none": losses, "sum": losses.sum(), "mean": losses.sum() / counts}[reduction]
    y = layer.forward(*given)
    np.testing.assert_allclose(asnumpy(y), want, rtol=1e-14)  # a few products and their sum
    dx, *others = layer.backward(y)
    assert others == [None, None]
    # Linear in log p: y**2 / 2 has the gradient y dy.
    slope = np.zeros_like(log_p)
    for n, i in np.ndindex(*t.shape):
        if t[n, i] >= 0:
            dout = want[n, i] if reduction == "none" else want / (counts if reduction == "mean" else 1.0)
            slope[n, t[n, i], i] = -w[t[n, i]] * dout
    np.testing.assert_allclose(asnumpy(dx), slope, rtol=1e-13, atol=1e-16)
    single = layer.forward(device.asarray(log_p, "float32"), *given[1:])
    assert (single.dtype, layer.backward(single)[0].dtype) == ("float32", "float32")


# ----------------------------------------------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: GroupNormalization(np.ones(4), np.ones(4), 3), ShapeError, "3 groups do not divide the 4 channels"),
        (lambda: GroupNormalization(np.ones(4), np.ones(3), 2), ShapeError, r"got \(4,\) and \(3,\)"),
        (lambda: GroupNormalization(np.ones(4), np.ones(4), 0), ConfigError, "the number of groups"),
        (lambda: group_norm(0), ConfigError, "the number of groups"),
        (lambda: LpNormalization(1, 3), ConfigError, "of p = 1 or 2, got 3"),
        (lambda: ClassLosses("max"), ConfigError, 'reduced by "none", "sum" or "mean", got \'max\''),
        (lambda: ClassLosses().output_shape((3,), ()), ShapeError, "give the Network a loss instead"),
        (lambda: ClassLosses().forward(np.ones((2, 3)), np.ones(3, int)), ShapeError, r"without K, got \(3,\)"),
    ],
)
def test_wrong_arguments(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (LayerNormalization(np.ones(5), axis=4), (4, 2, 5), "axis 4 is none of a sample's, 1 to 3"),
        (
            LayerNormalization(np.ones(4), axis=1),
            (4, 2, 5),
            r"gamma for axes from 1 on has shape \(4, 2, 5\), got \(4,\)",
        ),
        (LayerNormalization(None, np.ones((3, 4, 2, 5))), (4, 2, 5), r"beta for axes .* got \(3, 4, 2, 5\)"),
        (RMSNormalization(np.ones(4), axis=-1), (4, 2, 5), r"has shape \(5,\), got \(4,\)"),
        (GroupNormalization(np.ones(4), np.ones(4), 2), (6, 2), r"wanted \(4, ...\), got \(6, 2\)"),
        (InstanceNormalization(np.ones(4), np.ones(4)), (4,), r"a channel of \(4,\) is one number"),
    ],
)
def test_shapes_that_do_not_fit(layer: Layer, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        layer.output_shape(shape)
