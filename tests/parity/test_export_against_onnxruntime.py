"""Every layer and every model of ours, exported, gives in onnxruntime and in our importer what it gives here."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from tests.onnx.exporters.cases import CASES, OPSETS
from tests.onnx.making import with_statistics
from xpcnn.models import MODELS, make_model
from xpcnn.onnx import load
from xpcnn.onnx.exporting import to_onnx
from xpcnn.onnx.network import OnnxNetwork

onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.parity

# Pictures as small as the models take, so that all of them take a minute together.
SMALL = {"input_dim": (3, 16, 16), "output_size": 10}
SIZES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(MODELS, SMALL),
    **{name: {} for name in ("simple", "deep", "lenet5", "quick")},
    "alexnet": {"input_dim": (3, 32, 32)},
}
# With the stems of the papers. VGG's affine layers take half a gigabyte then.
FULL = ("resnet18", "googlenet", "squeezenet1_0", "densenet121", "shufflenet_v2_x0_5")


def _theirs(proto: onnx.ModelProto) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # it warns of what it folds away
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _close(got: np.ndarray, want: np.ndarray, size: float) -> None:
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0.0, atol=1e-5 * size)


@pytest.mark.parametrize("name", CASES)
def test_layers_give_the_same_outputs(name: str) -> None:
    case = CASES[name]
    if case.onnxruntime:
        pytest.skip(case.onnxruntime)
    network, x = case.network(), case.samples(3)
    want = network.predict(x)
    for opset in OPSETS:
        if opset >= case.since:
            # float32 sums of at most some hundred terms in another order
            theirs = _theirs(to_onnx(network, opset)).run(None, {"input": x})[0]
            _close(theirs, want, max(1.0, float(np.abs(want).max())))


def _same_scores(name: str, **arguments: Any) -> None:
    network = with_statistics(make_model(name, seed=0, **arguments))
    proto = to_onnx(network)
    onnx.checker.check_model(proto, full_check=True)
    session, ours = _theirs(proto), load(proto)
    assert isinstance(ours, OnnxNetwork), ours.why
    assert list(ours.params) == list(network.params) or name in ("simple", "deep")  # the book's names
    for N in (1, 3):
        x = np.random.default_rng(N).random((N, *network.input_shape), np.float32)
        want = network.predict(x)
        size = float(np.abs(want).max())  # float32 sums of thousands of terms: relative to the largest
        assert float(np.ptp(want)) > 1e-3 * size > 0.0
        _close(session.run(None, {"input": x})[0], want, size)
        _close(ours.run({"input": x})["scores"], want, size)


@pytest.mark.parametrize("name", MODELS)
def test_models_give_the_same_scores(name: str) -> None:
    _same_scores(name, **SIZES[name])


@pytest.mark.parametrize("name", FULL)
def test_models_for_larger_pictures(name: str) -> None:
    _same_scores(name, **SMALL | {"input_dim": (3, 64, 64), "variant": "full"})
