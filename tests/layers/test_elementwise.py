"""Mathematics as layers: gradients against central differences; the values are in the reference's tests."""

from __future__ import annotations

import inspect
from types import ModuleType

import numpy as np
import pytest

from tests.fake_cupy.counts import counts
from tests.fake_cupy.install import installed
from xpcnn.device import Device, asnumpy, get_device
from xpcnn.layers import Layer, activation_pieces, activation_smooth, broadcast, elementwise
from xpcnn.ops import reference
from xpcnn.ops.gradcheck import check_layer

# Where each is defined and smooth; the others are tried on -3..3.
DOMAINS = {
    "Acos": (-0.9, 0.9),
    "Acosh": (1.2, 5.0),
    "Asin": (-0.9, 0.9),
    "Atanh": (-0.9, 0.9),
    "Log": (0.2, 5.0),
    "Reciprocal": (0.3, 3.0),
    "Sqrt": (0.2, 5.0),
    "Tan": (-1.2, 1.2),
}
each_layer = pytest.mark.parametrize("name", elementwise.__all__)


def test_every_function_has_its_layer() -> None:
    assert sorted(name.lower() for name in elementwise.__all__) == sorted(reference.UNARY)
    for name in elementwise.__all__:
        layer = getattr(elementwise, name)
        assert issubclass(layer, Layer)
        assert layer.function == name.lower()
        assert inspect.getdoc(layer)


@each_layer
def test_gradient(device: Device, name: str) -> None:
    x = np.random.default_rng(0).uniform(*DOMAINS.get(name, (-3.0, 3.0)), (3, 2, 4))
    layer = getattr(elementwise, name)()
    assert layer.output_shape((2, 4)) == (2, 4)
    errors = check_layer(layer, device.asarray(x))
    assert max(errors.values()) < 1e-6


@each_layer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtypes_and_values(device: Device, name: str, dtype: str) -> None:
    x = device.asarray(np.random.default_rng(1).uniform(*DOMAINS.get(name, (-3.0, 3.0)), (3, 4)).astype(dtype))
    layer = getattr(elementwise, name)()
    y = layer.forward(x)
    dx = layer.backward(device.xp.ones_like(y))
    assert y.dtype == dx.dtype == dtype
    np.testing.assert_array_equal(asnumpy(y), asnumpy(reference.unary_forward(name.lower(), x)))


@pytest.mark.parametrize("name", ["Ceil", "Floor", "Round", "Sign"])
def test_steps_have_no_slope_but_hide_no_nan(name: str) -> None:
    layer = getattr(elementwise, name)()
    y = layer.forward(np.array([0.4, 1.6]))
    np.testing.assert_array_equal(layer.backward(np.array([5.0, np.nan])), [0.0, np.nan])
    assert y.tolist() == {"Ceil": [1.0, 2.0], "Floor": [0.0, 1.0], "Round": [0.0, 2.0], "Sign": [1.0, 1.0]}[name]


@pytest.mark.parametrize("family", [elementwise, activation_pieces, activation_smooth, broadcast])
def test_no_layer_waits_for_the_device(family: ModuleType) -> None:
    """All layers that work element by element, there and back: no copies between host and device, no waits."""
    with installed():
        cuda = get_device("cuda")
        x, b = (cuda.asarray(np.full((2, 3), v, dtype=np.float32)) for v in (0.5, 0.25))
        for name in family.__all__:
            kind, given = getattr(family, name), (x, b) if family is broadcast else (x,)
            if name == "PRelu":
                layer: Layer = kind(b[0])
            elif name == "Beside":
                layer, given = broadcast.Beside(broadcast.Power((True, False)), {1: b}), (x,)
            else:
                layer = kind()
            with counts.watch() as seen:
                layer.backward(layer.forward(*given))
            assert not seen.syncs, name
            assert seen.host_to_device.number == seen.device_to_host.number == 0, name
