"""Losses of ONNX models, beyond what ONNX's own tests say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.onnx.making import model, node
from xpcnn.device import Device, asnumpy
from xpcnn.errors import XpcnnError
from xpcnn.layers import SoftmaxWithLoss
from xpcnn.onnx import load
from xpcnn.onnx.program import Program


def _model(op: str, outputs: tuple[str, ...] = ("loss",), opset: int = 13, weights: bool = True, **how: Any) -> Any:
    """The operator on x (N, 3) and t (N,)."""
    constants = {"w": np.array([0.5, 2.0, 1.0], np.float32)} if weights else {}
    proto = model(
        [node(op, ["x", "t", *constants], outputs, "loss", **how)], {"x": ["N", 3]}, outputs, constants, opset
    )
    proto.graph.input.append(helper.make_tensor_value_info("t", TensorProto.INT64, ["N"]))
    return proto


def _case() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.standard_normal((5, 3)).astype(np.float32), np.array([0, 2, 1, 2, 0])


@pytest.mark.parametrize("opset", [12, 13])
@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("ignore", [None, 2])
def test_softmax_and_loss_are_our_own_loss(device: Device, opset: int, weights: bool, ignore: int | None) -> None:
    x, t = _case()
    how = {} if ignore is None else {"ignore_index": ignore}
    proto = _model("SoftmaxCrossEntropyLoss", ("loss", "log_p"), opset, weights, **how)
    program = load(proto, device)
    assert isinstance(program, Program)
    assert "labels are an input" in program.why or "2 inputs" in program.why
    found = program.run({"x": device.asarray(x), "t": device.asarray(t)})
    own = SoftmaxWithLoss(0.0, [0.5, 2.0, 1.0] if weights else None, ignore)
    want = own.forward(x.astype(np.float64), t)
    assert found["loss"].dtype == np.float32
    assert float(found["loss"]) == pytest.approx(float(want), rel=1e-6)  # some ten roundings
    np.testing.assert_allclose(np.exp(asnumpy(found["log_p"])).sum(axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("opset", [12, 13, 22])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_log_probabilities_in(device: Device, opset: int, reduction: str) -> None:
    x, t = _case()
    proto = _model("NegativeLogLikelihoodLoss", opset=opset, weights=False, reduction=reduction)
    found = asnumpy(load(proto, device).run({"x": device.asarray(x), "t": device.asarray(t)})["loss"])
    each = -x[np.arange(5), t].astype(np.float64)
    want = {"none": each, "sum": each.sum(), "mean": each.mean()}[reduction]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, want, rtol=1e-5)  # sums of five of either sign


def test_the_log_probabilities_may_be_left_out(device: Device) -> None:
    x, t = _case()
    found = load(_model("SoftmaxCrossEntropyLoss"), device).run({"x": device.asarray(x), "t": device.asarray(t)})
    assert set(found) == {"loss"}


def test_labels_that_do_not_fit() -> None:
    proto = _model("NegativeLogLikelihoodLoss")
    x, t = _case()
    with pytest.raises(XpcnnError, match=r"'loss' .*labels for log-probabilities \(5, 3\) .* got \(4,\)"):
        load(proto).run({"x": x, "t": t[:4]})
    bad = _model("NegativeLogLikelihoodLoss", reduction="max")
    with pytest.raises(XpcnnError, match='"none", "sum" or "mean"'):
        load(bad).run({"x": x, "t": t})
