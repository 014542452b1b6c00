"""Whole networks against PyTorch's: scores, loss, gradients, and twenty steps of Adam, all in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from xpcnn.layers import affine, batch_norm, conv
from xpcnn.models import LeNet5, SimpleConvNet
from xpcnn.network import Network
from xpcnn.optimizers import make_optimizer

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

nn = torch.nn

# float64 on both sides: sums of some thousand terms of the size of 1, in different orders, differ by 1e-13 or so.
_TOLERANCE = 1e-11
# Adam divides by the root of v: where a gradient is nearly zero its rounding is blown up, step after step.
_AFTER_ADAM = 1e-8


def _simple() -> tuple[Network, Any]:
    net = SimpleConvNet((1, 12, 11), {"filter_num": 4, "filter_size": 3, "pad": 1}, 8, 5, "he", seed=0, dtype="float64")
    # 12 x 11 pixels, pooled to 6 x 5
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(120, 8),
        nn.ReLU(),
        nn.Linear(8, 5),
    )
    return net, module


def _lenet() -> tuple[Network, Any]:
    net = LeNet5((1, 28, 28), 5, seed=0, dtype="float64")
    layers = []
    for convolution in (nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)):
        layers += [convolution, nn.Sigmoid(), nn.AvgPool2d(2)]
    layers += [nn.Flatten(), nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(), nn.Linear(84, 5)]
    return net, nn.Sequential(*layers)


class _TorchResidual(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.a, self.a_norm = nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(6)
        self.b, self.b_norm = nn.Conv2d(6, 6, 3, padding=1, groups=2, bias=False), nn.BatchNorm2d(6)
        self.short, self.short_norm = nn.Conv2d(4, 6, 1, stride=2, bias=False), nn.BatchNorm2d(6)
        self.out = nn.Linear(6, 5)

    def forward(self, x: Any) -> Any:
        x = torch.relu(self.stem_norm(self.stem(x)))
        y = self.b_norm(self.b(torch.relu(self.a_norm(self.a(x)))))
        return self.out(torch.relu(y + self.short_norm(self.short(x))).mean(dim=(2, 3)))


def _residual() -> tuple[Network, Any]:
    net = Network(
        [
            ("stem", conv(4, 3, pad=1, bias=False)),
            ("stem_norm", batch_norm()),
            ("stem_act", "relu"),
            ("a", conv(6, 3, stride=2, pad=1, bias=False)),
            ("a_norm", batch_norm()),
            ("a_act", "relu"),
            ("b", conv(6, 3, pad=1, groups=2, bias=False)),
            ("b_norm", batch_norm()),
            ("short", conv(6, 1, stride=2, bias=False), "stem_act"),
            ("short_norm", batch_norm()),
            ("sum", "add", ["b_norm", "short_norm"]),
            ("act", "relu"),
            ("pool", "global_average_pool"),
            ("out", affine(5)),
        ],
        (2, 9, 7),
        seed=0,
        dtype="float64",
    )
    return net, _TorchResidual()


def _pairs(net: Network, module: Any) -> dict[str, tuple[Any, bool]]:
    """Torch's parameter for each of ours, and whether it is ours transposed (affine: (D, M) here, (M, D) there)."""
    theirs = [p for m in module.modules() for p in m.parameters(recurse=False)]
    if isinstance(module, _TorchResidual):
        words = {"W": "weight", "b": "bias", "gamma": "weight", "beta": "bias"}
        by_name = dict(module.named_parameters())
        theirs = [by_name[f"{layer}.{words[p]}"] for layer, _, p in (name.partition(".") for name in net.params)]
    assert len(theirs) == len(net.params)
    return {name: (p, net.params[name].ndim == 2) for name, p in zip(net.params, theirs, strict=True)}


def _same_start(net: Network, module: Any) -> dict[str, tuple[Any, bool]]:
    pairs = _pairs(net, module.double())
    with torch.no_grad():
        for name, (p, transposed) in pairs.items():
            p.copy_(torch.tensor(net.params[name].T if transposed else net.params[name]))
    return pairs


def _batch(net: Network, seed: int = 1, N: int = 7) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.standard_normal((N, *net.input_shape)), random.integers(0, 5, N)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Torch's threads would only wait for each other on networks this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


each_network = pytest.mark.parametrize("build", [_simple, _lenet, _residual])
Build = Callable[[], tuple[Network, Any]]


def _assert_statistics(net: Network, module: Any, batches: list[int]) -> None:
    """Torch's running variance takes the unbiased one of each batch, n / (n - 1) times ours."""
    if not isinstance(module, _TorchResidual):
        return
    for name in ("stem", "a", "b", "short"):
        norm = getattr(module, f"{name}_norm")
        mean, var = net.state[f"{name}_norm.running_mean"], net.state[f"{name}_norm.running_var"]
        np.testing.assert_allclose(mean, norm.running_mean.numpy(), rtol=0.0, atol=_AFTER_ADAM)
        _, height, width = net.nodes[f"{name}_norm"].shape
        factors = {N * height * width for N in batches}
        assert len(factors) == 1
        n, first = factors.pop(), 0.9 ** len(batches)  # what is left of the first 1 needs no factor
        want = (norm.running_var.numpy() - first) * (n - 1) / n + first
        np.testing.assert_allclose(var, want, rtol=0.0, atol=_AFTER_ADAM)


@each_network
def test_scores_loss_and_gradients(build: Build) -> None:
    net, module = build()
    pairs = _same_start(net, module)
    x, t = _batch(net)
    loss, scores = net.train_pass(x, t)
    theirs = module(torch.tensor(x))
    their_loss = nn.functional.cross_entropy(theirs, torch.tensor(t))
    their_loss.backward()
    np.testing.assert_allclose(scores, theirs.detach().numpy(), rtol=0.0, atol=_TOLERANCE)
    assert float(loss) == pytest.approx(their_loss.item(), rel=_TOLERANCE)
    for name, (p, transposed) in pairs.items():
        want = p.grad.numpy().T if transposed else p.grad.numpy()
        assert abs(want).max() > 1e-6, name
        np.testing.assert_allclose(net.grads[name], want, rtol=0.0, atol=_TOLERANCE, err_msg=name)


@each_network
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_twenty_steps_of_adam(build: Build, smoothing: float) -> None:
    net, module = build()
    net.use_loss(type(net.loss_layer)(smoothing))
    pairs = _same_start(net, module)
    ours = make_optimizer("adam", lr=0.01)
    theirs = torch.optim.Adam(module.parameters(), lr=0.01)
    x, t = _batch(net)
    losses = []
    for step in range(20):
        x, t = _batch(net, seed=step % 4)
        loss, _ = net.train_pass(x, t)
        losses.append(float(loss))
        ours.update(net.params, net.grads)
        theirs.zero_grad()
        their_loss = nn.functional.cross_entropy(module(torch.tensor(x)), torch.tensor(t), label_smoothing=smoothing)
        their_loss.backward()
        theirs.step()
        assert losses[-1] == pytest.approx(their_loss.item(), rel=_AFTER_ADAM)
    for name, (p, transposed) in pairs.items():
        want = p.detach().numpy()
        np.testing.assert_allclose(net.params[name], want.T if transposed else want, rtol=0.0, atol=_AFTER_ADAM)
    _assert_statistics(net, module, [len(x)] * 20)
    assert sum(losses[-4:]) < sum(losses[:4])
