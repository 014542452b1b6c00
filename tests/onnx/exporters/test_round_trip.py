"""Whatever ONNX's own tests bring in as a Network can be given out again, and gives the same when it comes back."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.onnx.conformance import Case, all_cases, in_scope
from xpcnn.errors import XpcnnError
from xpcnn.onnx import load
from xpcnn.onnx.exporting import to_onnx
from xpcnn.onnx.network import OnnxNetwork

# Of dilated windows older opsets know only the largest element.
OLDER = ("test_averagepool_2d_dilations", "test_averagepool_3d_dilations", "test_lppool_2d_dilations")


def _network(case: Case) -> OnnxNetwork | None:
    try:
        network = load(case.model)
    except XpcnnError:  # left out on purpose: excluded.py says why
        return None
    return network if isinstance(network, OnnxNetwork) else None


@pytest.mark.filterwarnings("ignore")  # of NumPy and ONNX about the suite's own data
def test_out_and_in_again() -> None:
    seen, faults = 0, []
    for case in all_cases():
        network = _network(case) if in_scope(case) else None
        if network is None:
            continue
        (x, *_), _ = case.sets[0]
        want = network.run({network.inputs[0]: x})[network.outputs[0]]
        for opset in (13, 25):
            if opset < 19 and case.name.startswith(OLDER):
                continue
            seen += 1
            proto = to_onnx(network, opset)
            onnx.checker.check_model(proto, full_check=True)
            again = load(proto)
            got = again.run({network.inputs[0]: x})[network.outputs[0]]
            if not isinstance(again, OnnxNetwork) or not _same(got, want):
                faults.append((case.name, opset))
    assert not faults
    assert seen > 300


def _same(got: np.ndarray, want: np.ndarray) -> bool:
    """Constants that are attributes are float32; all else is the same arithmetic, or nearly."""
    size = float(np.abs(np.nan_to_num(want, posinf=0.0, neginf=0.0)).max(initial=1.0))
    return got.shape == want.shape and np.allclose(got, want, rtol=0.0, atol=1e-5 * size, equal_nan=True)
