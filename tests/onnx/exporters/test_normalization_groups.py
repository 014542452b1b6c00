"""Normalisations as ONNX: its own reference code and our importer give the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from xpcnn import Sequential
from xpcnn.layers import (
    LayerNormalization,
    LpNormalization,
    MeanVarianceNormalization,
    affine,
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    lrn,
    rms_norm,
)
from xpcnn.onnx import load
from xpcnn.onnx.exporting import to_onnx
from xpcnn.onnx.network import OnnxNetwork

# (layer, a sample's shape, opset)
CASES: dict[str, tuple[Any, tuple[int, ...], int]] = {
    "layer": (layer_norm(eps=1e-3), (4, 3, 2), 17),
    "layer, last axis": (layer_norm(-1), (3, 5), 17),
    "layer alone": (LayerNormalization(None, axis=2), (3, 5), 17),
    "rms": (rms_norm(-1), (3, 5), 23),
    "instances": (instance_norm(), (4, 3, 2), 13),
    "groups": (group_norm(2, eps=1e-3), (4, 3, 2), 21),
    "groups of old": (group_norm(2, eps=1e-3), (4, 3, 2), 13),
    "groups of rows": (group_norm(2), (6,), 17),
    "norm": (LpNormalization(-1, 2), (3, 5), 13),
    "sum of magnitudes": (LpNormalization(1, 1), (3, 5), 13),
    "mean and variance": (MeanVarianceNormalization(), (4, 3, 2), 13),
    "mean and variance over places": (MeanVarianceNormalization((-1, -2)), (4, 3, 2), 13),
    "batches of signals": (batch_norm(), (4, 6), 17),
    "lrn of volumes": (lrn(3, 0.5), (4, 2, 3, 2), 17),
}


@pytest.mark.parametrize("name", CASES)
def test_the_same_scores(name: str) -> None:
    layer, shape, opset = CASES[name]
    network = Sequential([("norm", layer), affine(2)], shape, seed=0)
    random = np.random.default_rng(1)
    for key, a in (*network.params.items(), *network.state.items()):
        if key.startswith("norm"):
            a[...] = random.uniform(0.5, 2.0, a.shape)
    proto = to_onnx(network, opset)
    onnx.checker.check_model(proto, full_check=True)
    x = random.standard_normal((3, *shape)).astype(np.float32)
    want = network.predict(x)
    # ONNX's own code (1.23) knows pictures only, and adds up the numbers for p = 1 where their magnitudes are meant.
    if name not in ("lrn of volumes", "sum of magnitudes"):
        (there,) = ReferenceEvaluator(proto).run(None, {"input": x})
        np.testing.assert_allclose(there, want, rtol=0.0, atol=2e-5)  # some hundred float32 roundings
    back = load(proto)
    assert isinstance(back, OnnxNetwork)
    np.testing.assert_allclose(back.predict(x), want, rtol=0.0, atol=2e-5)
