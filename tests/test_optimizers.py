"""Optimizers against scalar formulas in float64, PyTorch, and their own saved state."""

import inspect
import math
import tracemalloc

import numpy as np
import pytest

from xpcnn.errors import CheckpointError, ConfigError, DeviceError, ShapeError
from xpcnn.optimizers import OPTIMIZERS, SGD, Adam, AdamW, Momentum, make_optimizer
from xpcnn.optimizers import base as base_module

NAMES = list(OPTIMIZERS)
SHAPES = {"W1": (3, 1, 2, 2), "b1": (3,), "scale": (), "none": (0, 2)}


def make_params(seed=0, dtype=np.float64, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return {name: np.asarray(rng.standard_normal(shape), dtype=dtype) for name, shape in shapes.items()}


def run(optimizer, steps, params, first=1):
    for step in range(first, first + steps):
        optimizer.update(params, make_params(step, params["W1"].dtype))
    return params


# --- Each rule, one number at a time, as its paper writes it


def sgd(p, grads, lr):
    for g in grads:
        p -= lr * g
    return p


def momentum(p, grads, lr, mu):
    v = 0.0
    for g in grads:
        v = mu * v - lr * g
        p += v
    return p


def nesterov(p, grads, lr, mu):
    """Bengio et al. 2013, eq. 7: p += mu^2 v_old - (1 + mu) lr g."""
    v = 0.0
    for g in grads:
        p += mu * mu * v - (1 + mu) * lr * g
        v = mu * v - lr * g
    return p


def adagrad(p, grads, lr, eps):
    h = 0.0
    for g in grads:
        h += g**2
        p -= lr * g / (math.sqrt(h) + eps)
    return p


def rmsprop(p, grads, lr, rho, eps):
    h = 0.0
    for g in grads:
        h = rho * h + (1 - rho) * g**2
        p -= lr * g / (math.sqrt(h) + eps)
    return p


def adam(p, grads, lr, beta1, beta2, eps, decay=0.0):
    m = v = 0.0
    for t, g in enumerate(grads, start=1):
        p -= lr * decay * p
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        p -= lr * (m / (1 - beta1**t)) / (math.sqrt(v / (1 - beta2**t)) + eps)
    return p


FORMULAS = [
    ("sgd", {"lr": 0.1}, sgd, (0.1,)),
    ("momentum", {"lr": 0.1, "momentum": 0.8}, momentum, (0.1, 0.8)),
    ("nesterov", {"lr": 0.1, "momentum": 0.8}, nesterov, (0.1, 0.8)),
    ("adagrad", {"lr": 0.1}, adagrad, (0.1, 1e-7)),
    ("adagrad", {"lr": 0.1, "eps": 0.5}, adagrad, (0.1, 0.5)),
    ("rmsprop", {"lr": 0.1, "decay_rate": 0.9}, rmsprop, (0.1, 0.9, 1e-7)),
    ("rmsprop", {"lr": 0.1, "eps": 0.5}, rmsprop, (0.1, 0.99, 0.5)),
    ("adam", {}, adam, (0.001, 0.9, 0.999, 1e-8)),
    ("adam", {"lr": 0.1, "beta1": 0.5, "beta2": 0.9, "eps": 0.3}, adam, (0.1, 0.5, 0.9, 0.3)),
    ("adamw", {}, adam, (0.001, 0.9, 0.999, 1e-8, 0.01)),
    ("adamw", {"lr": 0.1, "weight_decay": 0.5}, adam, (0.1, 0.9, 0.999, 1e-8, 0.5)),
]


@pytest.mark.parametrize(("name", "param", "formula", "settings"), FORMULAS)
# float64: 7 steps of a dozen roundings. float32: the same at 6e-8, doubled where p comes near 0.
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 3e-6)])
def test_seven_steps_by_the_formula(name, param, formula, settings, dtype, tolerance):
    start = make_params(dtype=dtype)
    grads = [make_params(step, dtype) for step in range(1, 8)]
    params = run(make_optimizer(name, **param), 7, {key: value.copy() for key, value in start.items()})
    for key, got in params.items():
        assert got.dtype == dtype
        for index in np.ndindex(got.shape):
            wanted = formula(float(start[key][index]), [float(g[key][index]) for g in grads], *settings)
            assert float(got[index]) == pytest.approx(wanted, rel=tolerance, abs=tolerance)


@pytest.mark.parity
@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1}, {"clip_norm": 0.5}, {"clip_value": 0.3}])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_pytorch_walks_the_same_path(name, dtype, settings):
    torch = pytest.importorskip("torch")
    params = make_params(dtype=dtype)
    theirs = {key: torch.nn.Parameter(torch.tensor(value)) for key, value in params.items()}
    decay = settings.get("weight_decay", 0.0)
    optim, eps = torch.optim, 1e-7
    optimizer = {
        "sgd": lambda: optim.SGD(theirs.values(), lr=0.01, weight_decay=decay),
        "momentum": lambda: optim.SGD(theirs.values(), lr=0.01, momentum=0.9, weight_decay=decay),
        "nesterov": lambda: optim.SGD(theirs.values(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=decay),
        "adagrad": lambda: optim.Adagrad(theirs.values(), lr=0.01, eps=eps, weight_decay=decay),
        "rmsprop": lambda: optim.RMSprop(theirs.values(), lr=0.01, alpha=0.99, eps=eps, weight_decay=decay),
        "adam": lambda: optim.Adam(theirs.values(), lr=0.01, weight_decay=decay),
        "adamw": lambda: optim.AdamW(theirs.values(), lr=0.01, weight_decay=decay),
    }[name]()
    ours = make_optimizer(name, lr=0.01, **{"weight_decay": decay, **settings})
    for step in range(1, 21):
        grads = make_params(step, dtype)
        for key, value in grads.items():
            theirs[key].grad = torch.tensor(value)
        if "clip_norm" in settings:
            torch.nn.utils.clip_grad_norm_(theirs.values(), settings["clip_norm"])
        if "clip_value" in settings:
            torch.nn.utils.clip_grad_value_(theirs.values(), settings["clip_value"])
        optimizer.step()
        ours.update(params, grads)
    # 20 steps of rounding; PyTorch's norm clipping divides by norm + 1e-6, one part in 3 million here.
    tolerance = 5e-6 if "clip_norm" in settings or dtype == "float32" else 1e-12
    for key, value in params.items():
        np.testing.assert_allclose(value, theirs[key].detach().numpy(), rtol=tolerance, atol=tolerance)


# --- What all of them promise


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1, "clip_norm": 0.5, "clip_value": 0.3}])
def test_in_place_and_gradients_untouched(name, settings):
    params = make_params(dtype=np.float32)
    grads = {**make_params(1, np.float32), "unused": np.ones(3)}
    arrays, before = dict(params), {key: value.copy() for key, value in grads.items()}
    old = {key: value.copy() for key, value in params.items()}
    make_optimizer(name, **settings).update(params, grads)
    for key, array in arrays.items():
        assert params[key] is array
        assert array.dtype == np.float32
        assert not array.size or not np.array_equal(array, old[key])
    for key, array in grads.items():
        np.testing.assert_array_equal(array, before[key])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1, "clip_norm": 0.5, "clip_value": 0.3}])
def test_nothing_is_allocated_after_the_first_step(name, settings):
    shape = (400, 500)  # 800 kB each: any temporary of that size would show
    params, grads = ({"W": np.full(shape, value, dtype=np.float32)} for value in (1.0, 0.1))
    optimizer = make_optimizer(name, **settings)
    optimizer.update(params, grads)
    tracemalloc.start()
    try:
        optimizer.update(params, grads)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 80_000


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1, "clip_value": 0.3}])
def test_pieces_and_strides_change_nothing(name, settings, monkeypatch):
    """The same bits whole, in pieces with a remainder, and for arrays that are not C-contiguous."""
    shapes = {"W1": (7, 11)}
    results = []
    for piece, order in ((10**9, "C"), (10, "C"), (10, "F")):
        monkeypatch.setattr(base_module, "_PIECE", piece)
        params = {"W1": np.asarray(make_params(0, np.float32, shapes)["W1"], order=order)}
        optimizer = make_optimizer(name, **settings)
        for step in (1, 2, 3):
            optimizer.update(params, {"W1": np.asarray(make_params(step, np.float32, shapes)["W1"], order=order)})
        results.append(params["W1"])
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_lr_is_a_plain_attribute():
    params = {"W": np.zeros(1)}
    optimizer = SGD(lr=1.0)
    for lr, wanted in ((1.0, -1.0), (0.25, -1.25), (np.float32(0.5), -1.75), (0, -1.75)):
        optimizer.lr = lr
        optimizer.update(params, {"W": np.ones(1)})
        assert params["W"][0] == wanted
    optimizer.lr = math.nan
    with pytest.raises(ConfigError, match="lr is nan"):
        optimizer.update(params, {"W": np.ones(1)})


def test_momentum_carries_old_steps_through_a_change_of_lr():
    params, optimizer = {"W": np.zeros(1)}, Momentum(lr=1.0, momentum=0.5)
    optimizer.update(params, {"W": np.ones(1)})
    optimizer.lr = 0.0
    optimizer.update(params, {"W": np.ones(1)})
    assert params["W"][0] == -1.5


# --- Clipping and decay


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("most", "moves"), [(13.0, (3.0, 4.0, 12.0)), (100.0, (3.0, 4.0, 12.0)), (6.5, (1.5, 2.0, 6.0))]
)
def test_clip_norm_is_over_all_gradients(dtype, most, moves):
    """3, 4, 12 has the norm 13; all numbers here are exact in binary."""
    params = {"a": np.zeros(2, dtype), "b": np.zeros((1, 1), dtype)}
    SGD(lr=1.0, clip_norm=most).update(params, {"a": np.array([3, 4], dtype), "b": np.array([[12]], dtype)})
    assert (*params["a"], params["b"].item()) == tuple(-move for move in moves)


def test_clip_value_comes_before_clip_norm():
    params = {"a": np.zeros(3)}
    SGD(lr=1.0, clip_value=4.0, clip_norm=2.5).update(params, {"a": np.array([3.0, -400.0, 0.0])})
    assert params["a"].tolist() == [-1.5, 2.0, 0.0]


def test_decay_is_not_clipped():
    params = {"a": np.array([10.0])}
    SGD(lr=1.0, weight_decay=0.5, clip_value=1.0).update(params, {"a": np.array([100.0])})
    assert params["a"].tolist() == [10.0 - 1.0 - 5.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_clipping_does_not_hide_a_bad_gradient(bad):
    params = {"a": np.zeros(2)}
    with np.errstate(invalid="ignore"):
        SGD(clip_norm=1.0).update(params, {"a": np.array([1.0, bad])})
    assert np.isnan(params["a"]).any()


def test_zero_gradients_and_clip_norm():
    params = {"a": np.ones(2)}
    SGD(clip_norm=1.0).update(params, {"a": np.zeros(2)})
    assert params["a"].tolist() == [1.0, 1.0]


def test_l2_differs_from_decoupled_decay():
    """At the first step Adam moves by lr whatever the gradient's size: L2 is swallowed, AdamW's decay is not."""
    for optimizer, wanted in ((Adam(lr=0.1, weight_decay=0.5), 4.0 - 0.1), (AdamW(lr=0.1, weight_decay=0.5), 3.7)):
        params = {"a": np.array([4.0])}
        optimizer.update(params, {"a": np.array([1.0])})
        assert params["a"][0] == pytest.approx(wanted, abs=1e-8)  # eps / |g|


# --- State


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_a_saved_state_goes_on_to_the_same_bits(name, dtype):
    settings = {"weight_decay": 0.1, "clip_norm": 0.5}
    straight = run(make_optimizer(name, **settings), 9, make_params(dtype=dtype))
    first = make_optimizer(name, **settings)
    params = run(first, 4, make_params(dtype=dtype))
    state = first.state_dict()
    run(first, 2, {key: value.copy() for key, value in params.items()})  # must not reach into the saved state
    second = make_optimizer(name, **settings)
    second.load_state_dict(state)
    again = second.state_dict()
    assert list(again) == list(state)
    assert all(np.array_equal(again[key], state[key]) for key in state)
    run(second, 5, params, first=5)
    for key in params:
        np.testing.assert_array_equal(params[key], straight[key])
    assert int(state["t"]) == 4


def test_the_names_of_a_state():
    optimizer = Adam()
    assert list(optimizer.state_dict()) == ["t"]
    optimizer.update({"conv1.W": np.ones(2)}, {"conv1.W": np.ones(2)})
    assert list(optimizer.state_dict()) == ["t", "m.conv1.W", "v.conv1.W"]
    assert list(SGD().state_dict()) == ["t"]


def _adam_state(**changes):
    state = {"t": np.array(3), "m.W": np.ones(2), "v.W": np.ones(2), **changes}
    return {key: value for key, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (_adam_state(t=None), '"t"'),
        (_adam_state(t=np.array(-1)), "not a count"),
        (_adam_state(t=np.array([1])), "not a count"),
        (_adam_state(t=np.array(1.5)), "not a count"),
        (_adam_state(**{"h.W": np.ones(2)}), "keeps no 'h.W'"),
        (_adam_state(W=np.ones(2)), "keeps no 'W'"),
        (_adam_state(**{"v.W": None}), "missing W"),
        (_adam_state(**{"v.W": None, "m.W": None}), "missing W"),
        (_adam_state(**{"m.V": np.ones(2), "v.V": np.ones(2)}), "unknown V"),
        (_adam_state(**{"m.W": np.ones(3)}), r"'m\.W'"),
        (_adam_state(**{"m.W": np.ones(2, dtype=np.float32)}), "float32"),
    ],
)
@pytest.mark.parametrize("fresh", [True, False])
def test_a_state_of_something_else(state, word, fresh):
    optimizer, params, grads = Adam(), {"W": np.zeros(2)}, {"W": np.ones(2)}
    if not fresh:
        optimizer.update(params, grads)
    before = optimizer.state_dict()

    def load_and_go():
        optimizer.load_state_dict(state)
        assert fresh, "an optimizer that knows its parameters refuses at once"
        optimizer.update(params, grads)

    with pytest.raises(CheckpointError, match=word):
        load_and_go()
    if not fresh:
        after = optimizer.state_dict()
        assert all(np.array_equal(after[key], before[key]) for key in before)


def test_sgd_refuses_adams_state():
    with pytest.raises(CheckpointError, match="nothing else"):
        SGD().load_state_dict(_adam_state())


# --- Errors


def test_gradients_that_do_not_fit():
    params = {"W": np.ones(2), "b": np.ones(1)}
    with pytest.raises(ConfigError, match="'b' has no gradient; there are W"):
        SGD().update(params, {"W": np.ones(2)})
    with pytest.raises(ShapeError, match=r"'W' is \(2,\), its gradient \(3,\)"):
        SGD().update(params, {"W": np.ones(3), "b": np.ones(1)})
    with pytest.raises(ShapeError, match="int64"):
        SGD().update({"W": np.ones(2, dtype=int)}, {"W": np.ones(2)})
    assert (params["W"] == 1).all()


def test_a_parameter_that_changes_its_shape():
    optimizer = Momentum()
    optimizer.update({"W": np.ones(2)}, {"W": np.ones(2)})
    with pytest.raises(ShapeError, match=r"v\.W"):
        optimizer.update({"W": np.ones(3)}, {"W": np.ones(3)})


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf, "x", None, True])
@pytest.mark.parametrize("name", NAMES)
def test_bad_settings(name, bad):
    parameters = inspect.signature(OPTIMIZERS[name]).parameters
    for key in parameters:
        if bad is None and parameters[key].default is None:
            continue
        with pytest.raises(ConfigError, match=key):
            make_optimizer(name, **{key: bad})


@pytest.mark.parametrize(
    ("name", "key", "bad"),
    [
        ("adam", "beta1", 1.0),
        ("adamw", "beta2", 1.5),
        ("momentum", "momentum", 1.0),
        ("rmsprop", "decay_rate", 1),
        ("adam", "eps", 0.0),
        ("sgd", "clip_norm", 0.0),
        ("sgd", "clip_value", 0),
    ],
)
def test_values_at_the_edge(name, key, bad):
    with pytest.raises(ConfigError, match=key):
        make_optimizer(name, **{key: bad})


@pytest.mark.parametrize(
    "name", ["SGD", "sgd", "Adam", "ADAMW", "adagrad", "AdaGrad", "RMSprop", "nesterov", " momentum "]
)
def test_names_in_any_case(name):
    assert type(make_optimizer(name, lr=0.5)).__name__.lower() == name.strip().lower()
    assert make_optimizer(name, lr=0.5).lr == 0.5


@pytest.mark.parametrize("name", ["lion", "", None])
def test_an_unknown_name_lists_the_known(name):
    with pytest.raises(ConfigError, match="sgd, momentum, nesterov, adagrad, rmsprop, adam, adamw"):
        make_optimizer(name)


def test_an_unknown_parameter_lists_the_known():
    with pytest.raises(
        ConfigError, match="Adam has no parameter beta; it has lr, beta1, beta2, eps, weight_decay, clip"
    ):
        make_optimizer("adam", beta=0.9)


# --- Devices


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1, "clip_norm": 0.5, "clip_value": 0.3}])
def test_a_device_gives_the_hosts_result(device, name, settings):
    """float32 on both: 3 steps that may round differently, and sums of squares in another order."""
    ours = make_params(dtype=np.float32)
    theirs = {key: device.asarray(value.copy()) for key, value in ours.items()}
    here, there = make_optimizer(name, **settings), make_optimizer(name, **settings)
    for step in (1, 2, 3):
        grads = make_params(step, np.float32)
        here.update(ours, grads)
        there.update(theirs, {key: device.asarray(value) for key, value in grads.items()})
        if step == 2:  # a checkpoint's arrays come from the host
            there.load_state_dict({key: device.asnumpy(value) for key, value in there.state_dict().items()})
    for key, value in ours.items():
        assert isinstance(theirs[key], device.xp.ndarray)
        assert theirs[key].dtype == np.float32
        np.testing.assert_allclose(device.asnumpy(theirs[key]), value, rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
def test_no_step_waits_for_a_gpu(device):
    if device.name == "cpu":
        pytest.skip("a host has nothing to wait for")
    params = {"W": device.asarray(np.ones(1000, dtype=np.float32))}
    with pytest.raises(DeviceError):
        SGD().update(params, {"W": np.ones(1000, dtype=np.float32)})
    stream = device.xp.cuda.Stream(non_blocking=True)
    optimizer, grads = Adam(clip_norm=1.0, clip_value=1.0, weight_decay=0.1), {"W": params["W"].copy()}
    device.synchronize()  # a non-blocking stream does not wait for the default one
    with stream:
        optimizer.update(params, grads)
        stream.begin_capture()  # a wait inside a capture is an error
        optimizer.update(params, grads)
        stream.end_capture()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_taken_before_the_first_update_begins_anew(name):
    def run(optimizer, params):
        for k in range(3):
            optimizer.update(params, {"W": np.full(3, 0.5 + k)})
        return params["W"].tobytes()

    fresh = make_optimizer(name)
    untouched = fresh.state_dict()
    expected = run(fresh, {"W": np.ones(3)})
    fresh.load_state_dict(untouched)  # one that has made updates goes back to none
    assert run(fresh, {"W": np.ones(3)}) == expected
