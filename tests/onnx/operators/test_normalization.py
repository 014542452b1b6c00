"""Normalisations of ONNX models: which layers they become, older opsets, and what ONNX's own tests leave open."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import oracles
from tests.onnx.making import model, node
from xpcnn.device import Device, asnumpy
from xpcnn.layers import (
    BatchNormalization,
    GroupNormalization,
    InstanceNormalization,
    LayerNormalization,
    LocalResponseNormalization,
    LpNormalization,
    MeanVarianceNormalization,
    RMSNormalization,
)
from xpcnn.onnx import load
from xpcnn.onnx.call import UnsupportedOperator
from xpcnn.onnx.network import OnnxNetwork
from xpcnn.onnx.program import Program, ProgramCall, run_step, translated
from xpcnn.onnx.reading import Step, read_model


def _numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.5, 2.0, shape).astype(np.float32)


def _model(
    op: str, inputs: dict[str, np.ndarray], outputs: tuple[str, ...] = ("y",), opset: int = 17, **how: Any
) -> Any:
    """The operator on x (N, 4, 3, 2), its other inputs constant."""
    return model([node(op, ["x", *inputs], outputs, "norm", **how)], {"x": ["N", 4, 3, 2]}, outputs, inputs, opset)


PER_CHANNEL = {"scale": _numbers(4), "b": _numbers(4, seed=1)}
RUNNING = {**PER_CHANNEL, "mean": _numbers(4, seed=2), "var": _numbers(4, seed=3)}

MODELS: dict[str, tuple[Any, type]] = {
    "batch": (_model("BatchNormalization", RUNNING, opset=15), BatchNormalization),
    "instance": (_model("InstanceNormalization", PER_CHANNEL), InstanceNormalization),
    "groups": (_model("GroupNormalization", PER_CHANNEL, opset=21, num_groups=2), GroupNormalization),
    "layer": (_model("LayerNormalization", {"scale": _numbers(2), "b": _numbers(2)}), LayerNormalization),
    "layer, scale of x's rank": (
        _model("LayerNormalization", {"scale": _numbers(1, 1, 1, 2), "b": _numbers(1, 1, 3, 1)}, axis=2),
        LayerNormalization,
    ),
    "layer, axis 1": (_model("LayerNormalization", {"scale": _numbers(4, 3, 2)}, axis=1), LayerNormalization),
    "rms": (_model("RMSNormalization", {"scale": _numbers(3, 2)}, opset=23, axis=-2), RMSNormalization),
    "norm": (_model("LpNormalization", {}, axis=1, p=1), LpNormalization),
    "mean and variance": (_model("MeanVarianceNormalization", {}, axes=[2, 3]), MeanVarianceNormalization),
    "lrn": (_model("LRN", {}, size=3, alpha=0.5, bias=2.0), LocalResponseNormalization),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_network_does_the_same_as_a_program(device: Device, name: str) -> None:
    proto, kind = MODELS[name]
    network, x = load(proto, device), _numbers(5, 4, 3, 2, seed=4)
    assert isinstance(network, OnnxNetwork)
    (layer,) = network.layers.values()
    assert type(layer) is kind
    y = asnumpy(network.run({"x": device.asarray(x)})["y"])
    want = asnumpy(Program(read_model(proto), device).run({"x": device.asarray(x)})["y"])
    assert y.dtype == want.dtype == np.float32
    np.testing.assert_allclose(y, want, rtol=0.0, atol=2e-5)  # some ten float32 roundings of numbers below 20


@pytest.mark.parametrize(
    ("op", "opsets", "inputs", "how"),
    [
        ("BatchNormalization", (6, 7, 9, 14, 15), RUNNING, {"epsilon": 1e-3}),
        ("InstanceNormalization", (6, 22), PER_CHANNEL, {"epsilon": 1e-3}),
        ("LpNormalization", (1, 22), {}, {"axis": 1}),
        ("MeanVarianceNormalization", (9, 13), {}, {"axes": [1, 2]}),
        ("LRN", (1, 13), {}, {"size": 2}),
    ],
)
def test_every_opset(op: str, opsets: tuple[int, ...], inputs: dict[str, np.ndarray], how: dict[str, Any]) -> None:
    x = _numbers(2, 4, 3, 2, seed=5)
    results = [load(_model(op, inputs, opset=opset, **how)).run({"x": x})["y"] for opset in opsets]
    for y in results[1:]:
        np.testing.assert_array_equal(y, results[0])


def test_a_batch_normalisation_of_a_model_is_trained_on(device: Device) -> None:
    network = load(_model("BatchNormalization", RUNNING, opset=15, momentum=0.5), device)
    assert isinstance(network, OnnxNetwork)
    x = _numbers(5, 4, 3, 2, seed=6)
    network.executor.predict(device.asarray(x), train=True)
    mean = x.mean(axis=(0, 2, 3), dtype=np.float64) * 0.5 + RUNNING["mean"] * 0.5
    np.testing.assert_allclose(asnumpy(network.state["norm.running_mean"]), mean, rtol=1e-5)  # sums of 30 numbers


@pytest.mark.parametrize("sizes", [(), (3,), (3, 2), (2, 2, 2)])
def test_training_mode_gives_the_running_statistics(device: Device, sizes: tuple[int, ...]) -> None:
    names = ("y", "new_mean", "new_var")
    proto = model(
        [node("BatchNormalization", ["x", *RUNNING], names, "norm", training_mode=1, momentum=0.8)],
        {"x": ["N", 4, *sizes]}, names, RUNNING, 15,
    )  # fmt: skip
    program, x = load(proto, device), _numbers(6, 4, *sizes, seed=7)
    assert isinstance(program, Program)
    y, mean, var = (asnumpy(program.run({"x": device.asarray(x)})[name]) for name in names)
    want, batch_mean, batch_var = oracles.batch_norm(x.reshape(6, 4, -1, 1), RUNNING["scale"], RUNNING["b"])
    # Some 50 roundings of float32 in numbers of a few units.
    np.testing.assert_allclose(y, want.reshape(x.shape), rtol=0.0, atol=3e-5)
    np.testing.assert_allclose(mean, RUNNING["mean"] * 0.8 + batch_mean * 0.2, rtol=1e-5)
    np.testing.assert_allclose(var, RUNNING["var"] * 0.8 + batch_var * 0.2, rtol=1e-5)


def test_statistics_of_a_layer_normalisation(device: Device) -> None:
    names = ("y", "mean", "inverse")
    program = load(_model("LayerNormalization", {"scale": _numbers(3, 2)}, names, axis=2, epsilon=0.1), device)
    assert isinstance(program, Program)
    x = _numbers(2, 4, 3, 2, seed=8)
    _, mean, inverse = (asnumpy(program.run({"x": device.asarray(x)})[name]) for name in names)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(axis=(2, 3), keepdims=True), rtol=1e-6)  # sums of six
    np.testing.assert_allclose(inverse, 1.0 / np.sqrt(exact.var(axis=(2, 3), keepdims=True) + 0.1), rtol=1e-5)


@pytest.mark.parametrize(
    ("op", "inputs", "how", "why"),
    [
        ("LayerNormalization", {"scale": _numbers(1, 4, 3, 2)}, {"axis": 0}, "over the samples"),
        ("LayerNormalization", {"scale": _numbers(3, 1, 1, 2)}, {}, "its input 'scale' differs from sample to sample"),
        ("LpNormalization", {}, {"axis": 0}, "over the samples"),
        ("MeanVarianceNormalization", {}, {}, "over the samples"),
    ],
)
def test_what_mixes_samples_runs_as_a_program(
    op: str, inputs: dict[str, np.ndarray], how: dict[str, Any], why: str
) -> None:
    program = load(_model(op, inputs, **how))
    assert isinstance(program, Program)
    assert why in program.why
    assert program.run({"x": _numbers(3, 4, 3, 2)})["y"].shape == (3, 4, 3, 2)


def test_groups_with_a_scale_each(device: Device) -> None:
    """As opset 18 had it. ONNX's checker lets no such model in, so the operator is called here."""
    x, scale, b = _numbers(2, 4, 3, seed=9), _numbers(2, seed=10), _numbers(2, seed=11)
    step = Step("GroupNormalization", "", "norm", 18, ("x", "s", "b"), ("y",), {"num_groups": 2, "epsilon": 0.1})
    values = {name: device.asarray(a) for name, a in {"x": x, "s": scale, "b": b}.items()}
    run_step(translated(ProgramCall(step, values, {})), values, device)
    grouped = x.astype(np.float64).reshape(2, 2, 6)
    centred = grouped - grouped.mean(axis=2, keepdims=True)
    want = centred / np.sqrt(grouped.var(axis=2, keepdims=True) + 0.1) * scale[:, None] + b[:, None]
    np.testing.assert_allclose(asnumpy(values["y"]), want.reshape(x.shape), rtol=0.0, atol=1e-5)  # ten roundings


def test_ways_that_onnx_has_given_up() -> None:
    with pytest.raises(UnsupportedOperator, match=r"'norm' \(BatchNormalization\): spatial=0"):
        load(_model("BatchNormalization", RUNNING, opset=7, spatial=0))
    old = load(_model("BatchNormalization", RUNNING, ("y", "m", "v", "m2", "v2"), opset=9))
    with pytest.raises(UnsupportedOperator, match="training by this version's outputs"):
        old.run({"x": _numbers(2, 4, 3, 2)})


def test_parameters_of_another_dtype(device: Device) -> None:
    wide = {name: a.astype(np.float64) for name, a in RUNNING.items()}
    x = device.asarray(_numbers(2, 4, 3, 2))
    for proto in (_model("BatchNormalization", wide, opset=15), _model("BatchNormalization", RUNNING, opset=15)):
        for run in (load(proto, device).run, Program(read_model(proto), device).run):
            assert run({"x": x})["y"].dtype == np.float32
