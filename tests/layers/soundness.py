"""What every layer owes: right gradients, its input's dtype, the shape that it announced, and batches of no samples."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from xpcnn.device import Device, asnumpy
from xpcnn.layers import Layer
from xpcnn.ops.gradcheck import check_layer

# The same formulas on two devices: some hundred roundings, of which most cancel, as parts of the largest number.
_ROUNDING = {"float32": 1e-5, "float64": 1e-12}


def check_sound(device: Device, layer: Layer, *inputs: np.ndarray, in_network: bool = True) -> None:
    """inputs: float64 arrays (N, ...), N the same for all. in_network: whether samples stay apart.

    Central differences are taken on the host; a device has to give what the host gives.
    """
    here = copy.copy(layer)
    here.params = {name: asnumpy(a).copy() for name, a in layer.params.items()}
    here.state = {name: asnumpy(a).copy() for name, a in layer.state.items()}
    errors = check_layer(here, *(x.copy() for x in inputs))
    assert max(errors.values()) < 1e-6, errors
    params, params_here = dict(layer.params), dict(here.params)
    for dtype, rounding in _ROUNDING.items():
        layer.params = {name: a.astype(dtype) for name, a in params.items()}
        here.params = {name: a.astype(dtype) for name, a in params_here.items()}
        given = [x.astype(dtype) for x in inputs]
        for got, want in zip(_pass(layer, [device.asarray(x) for x in given]), _pass(here, given), strict=True):
            assert got.dtype == want.dtype == dtype
            atol = rounding * max(1.0, float(abs(want).max(initial=0.0)))
            np.testing.assert_allclose(asnumpy(got), want, rtol=0.0, atol=atol)
    layer.params = params
    if not in_network:
        return
    y = layer.forward(*(device.asarray(x) for x in inputs))
    assert y.shape == (inputs[0].shape[0], *layer.output_shape(*(x.shape[1:] for x in inputs)))
    nothing, *gradients = _pass(layer, [device.asarray(x[:0]) for x in inputs])
    assert nothing.shape == (0, *y.shape[1:])
    for a, x in zip(gradients, inputs, strict=False):
        assert a.shape == (0, *x.shape[1:])


def _pass(layer: Layer, inputs: list[Any]) -> list[Any]:
    """Output, gradients of the inputs, gradients of the parameters."""
    y = layer.forward(*inputs)
    dx = layer.backward(y)
    return [y, *(dx if isinstance(dx, tuple) else (dx,)), *(layer.grads[name] for name in layer.params)]
