"""A network: a graph of named layers with a loss, and what one does with it (book, section 7.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from xpcnn.device import Array, CudaDevice, Device, asnumpy, get_device
from xpcnn.errors import ConfigError, DataError, ShapeError
from xpcnn.executors import make_executor
from xpcnn.executors.tally import Tally, evaluate
from xpcnn.graph import Node, build_graph
from xpcnn.layers.base import Shape
from xpcnn.layers.loss import Loss, SoftmaxWithLoss
from xpcnn.layers.spec import How
from xpcnn.network_arrays import NetworkArrays, as_dtype
from xpcnn.network_words import as_labels, check_batch, layout_hint, summary_of, unscaled, warn, warn_unscaled
from xpcnn.ops.gradcheck import numerical_gradient
from xpcnn.params import ArrayView, Place, book_names, layer_names, state_names
from xpcnn.rng import fresh_seed

__all__ = ["Network", "Sequential"]

_NAMING: dict[str, Callable[[Mapping[str, Node]], dict[str, Place]]] = {"layer": layer_names, "book": book_names}


class Network(NetworkArrays):
    """Named layers, each taking the outputs of earlier ones; the last one's output are the scores (N, K).

    layers: entries `layer`, `(name, layer)` or `(name, layer, inputs)`, where a layer is a Layer, a spec such as
    `xpcnn.layers.conv(32, 3)` or a word such as "relu", and inputs one name or several ("input" is the batch
    itself; left out, it is the entry before). "add" and "concatenate" join branches.
    input_shape: one sample's, (C, H, W) or (D,). seed: of the initial weights and the dropout masks (None draws
    one). dtype: "float32", "float64", or "float16" on a GPU (the parameters stay float32). init: how weights are
    drawn ("auto": He, or Xavier before sigmoid and tanh).
    param_names: "layer" ("conv1.W") or "book" ("W1"). loss: a SoftmaxWithLoss, or another.

    Raises ConfigError and ShapeError, naming the layer, where the layers do not fit together.
    """

    def __init__(
        self,
        layers: Iterable[object],
        input_shape: Sequence[int],
        *,
        seed: int | None = None,
        dtype: Any = "float32",
        device: str | Device | None = "cpu",
        init: How = "auto",
        param_names: str = "layer",
        loss: Loss | None = None,
    ) -> None:
        if param_names not in _NAMING:
            raise ConfigError(f"param_names is one of {', '.join(_NAMING)}, got {param_names!r}")
        self.dtype = as_dtype(dtype)
        self.seed = fresh_seed() if seed is None else int(seed)
        try:
            self.nodes = build_graph(layers, input_shape, self.seed, self.param_dtype, init)
        except ShapeError as error:
            if hint := layout_hint(input_shape):
                raise ShapeError(f"{error}; {hint}") from error
            raise
        self.input_shape: Shape = tuple(map(int, input_shape))
        if hint := layout_hint(self.input_shape):
            warn(hint)
        self.loss_layer = SoftmaxWithLoss() if loss is None else loss
        self.threads: int | None = None  # of a CPU: None takes all cores
        self.step = 0  # of training passes so far: names the next dropout masks
        self._warned = False  # of a batch that is not scaled: once is enough
        self.config: dict[str, Any] = {}  # how to make this network again, where it is one of xpcnn.models
        self._naming = _NAMING[param_names]
        self._use_device(get_device(device))

    # -- parts ---------------------------------------------------------------------------------------------------

    def _use_device(self, device: Device) -> None:
        if self.dtype == np.float16 and not isinstance(device, CudaDevice):
            raise ConfigError(
                'a network of dtype float16 runs on a GPU only; give device="cuda", or dtype="float32", or take '
                'network.copy("float32") to the CPU'
            )
        self.device = device
        for layer in self.layers.values():
            layer.params = {name: device.asarray(a, self.param_dtype) for name, a in layer.params.items()}
            layer.state = {name: device.asarray(a, self.param_dtype) for name, a in layer.state.items()}
            layer.grads = {}
        self.executor = make_executor(
            self.nodes, self.input_shape, self.loss_layer, self.seed, device, self.dtype, self.threads
        )
        places = self._naming(self.nodes)
        self.params = ArrayView(places, "params", self.executor.flat)
        self.grads = ArrayView(places, "grads", self.executor.flat)
        self.state = ArrayView(state_names(self.nodes), "state")

    def use_seed(self, seed: int) -> None:
        """Takes another seed for the dropout masks to come."""
        self.seed = seed
        self.executor.seed = seed

    def use_threads(self, threads: int | None) -> None:
        """How many threads a CPU may use: None for all cores, 1 for none beside the caller's."""
        if threads is not None and threads < 1:
            raise ConfigError(f"a network needs at least 1 thread, got {threads}")
        self.threads = threads
        self._use_device(self.device)

    def use_loss(self, loss: Loss) -> None:
        """Takes another loss, such as one with label smoothing."""
        self.loss_layer = loss
        self.executor.loss = loss

    def to(self, device: str | Device) -> Self:
        """Moves the network to `device`; returns itself."""
        self._use_device(get_device(device))
        return self

    # -- batches -------------------------------------------------------------------------------------------------

    def _input(self, x: Any) -> Array:
        """x on the network's device and of its dtype. Raises ShapeError where it is not a batch for it."""
        check_batch(x, self.input_shape, next(iter(self.nodes)))
        if not self._warned and unscaled(x):
            self._warned = True
            warn_unscaled("a uint8 batch", "give x / 255.0")
        return self.device.asarray(x, self.dtype)

    def labels(self, t: Any, N: int) -> Array:
        """Targets of N samples on the network's device; what is there already is not moved again."""
        t = t if hasattr(t, "dtype") else as_labels(t)
        self.loss_layer.check_targets(t, N, self.output_shape)  # here, while they are still on the host
        return self.loss_layer.targets(t, self.device, self.param_dtype)

    def predict(self, x: Any, train: bool = False, batch_size: int | None = 256) -> Array:
        """Scores (N, K), before any softmax, for x (N, ...). batch_size: samples at a time (None: all at once)."""
        x = self._input(x)
        if train or batch_size is None or len(x) <= batch_size:
            return self.executor.predict(x, train, self.step)
        if batch_size < 1:
            raise ConfigError(f"batch_size is a whole number of at least 1, got {batch_size}")
        pieces = [self.executor.predict(x[i : i + batch_size]) for i in range(0, len(x), batch_size)]
        return self.device.xp.concatenate(pieces)

    def loss(self, x: Any, t: Any, train: bool = False) -> Array:
        """Mean loss of one batch (0-d, on the device). t: what the loss takes; (N,) class numbers or (N, K) one-hot."""
        scores = self.predict(x, train)
        return self.loss_layer.forward(scores, self.labels(t, len(scores)))

    def evaluate_batches(
        self, batches: Iterable[tuple[Any, Any]], across: Callable[[np.ndarray], None] | None = None
    ) -> tuple[float, float]:
        """(mean loss, accuracy) over all samples of `batches` of (x, t), each counting once.

        across: where other processes have other batches, adds an array up over all of them, in place.
        The accuracy is NaN where the loss knows no right and wrong, as MeanSquaredError.
        """
        scored = ((y, self.labels(t, len(y))) for x, t in batches for y in [self.predict(x, batch_size=None)])
        return evaluate(self.loss_layer, scored, self.output_shape, across)

    def evaluate(self, x: Any, t: Any, batch_size: int = 100) -> tuple[float, float]:
        """(mean loss, accuracy) over all of x, the last partial batch included; accuracy is a share of 0..1."""
        if len(x) != len(t):
            raise DataError(f"evaluation needs as many labels as samples, got {len(x)} samples and {len(t)} labels")
        if batch_size < 1:
            raise ConfigError(f"batch_size is a whole number of at least 1, got {batch_size}")
        return self.evaluate_batches(
            (x[i : i + batch_size], t[i : i + batch_size]) for i in range(0, len(x), batch_size)
        )

    def accuracy(self, x: Any, t: Any, batch_size: int = 100) -> float:
        """Share of x whose highest score is its label's, 0..1; every sample counts once."""
        return self.evaluate(x, t, batch_size)[1]

    # -- gradients -----------------------------------------------------------------------------------------------

    def train_pass(self, x: Any, t: Any, tally: Tally | None = None, part: slice | None = None) -> tuple[Array, Array]:
        """Forward and backward at training time: (loss, scores); the gradients are then in `grads`.

        tally: counts the batch, its loss and its right answers. part: where several processes train together, which
        samples of the batch with targets t this one has in x (see EagerExecutor.gradient).
        """
        x = self._input(x)
        t = self.labels(t, len(x) if part is None else len(t))
        loss, scores = self.executor.gradient(x, t, step=self.step, tally=tally, part=part)
        self.step += 1
        return loss, scores

    def gradient(self, x: Any, t: Any) -> dict[str, Array]:
        """Gradient of the training-time loss by backpropagation: an array for each of `params`."""
        self.train_pass(x, t)
        return self.executor.unscaled(self.grads)

    def numerical_gradient(self, x: Any, t: Any, h: float = 1e-5) -> dict[str, np.ndarray]:
        """The same by central differences, in float64 on the host; slow, for checking `gradient`.

        It uses the dropout masks that the next call of `gradient` will use.
        """
        twin = self.copy("float64").to("cpu")
        x, t = asnumpy(x), asnumpy(t)

        def f() -> Array:
            return twin.loss(x, t, train=True)

        return {name: asnumpy(numerical_gradient(f, a, h)) for name, a in twin.params.items()}

    def activations(self, x: Any) -> dict[str, Array]:
        """Every layer's output for x at test time, by the layer's name."""
        outputs: dict[str, Array] = {}
        self.executor.predict(self._input(x), visit=outputs.__setitem__)
        return outputs

    def first_nonfinite(self, x: Any, step: int | None = None) -> str | None:
        """Name of the first layer whose training-time output for x holds a NaN or an infinity; None: all finite.

        step: the training pass whose dropout masks to use (None: the next one's).
        """
        found: list[str] = []

        def look(name: str, y: Array) -> None:
            if not found and not bool(self.device.xp.isfinite(y).all()):
                found.append(name)

        state = {name: a.copy() for name, a in self.state.items()}
        with np.errstate(all="ignore"):  # what would be warned of is what is looked for
            self.executor.predict(self._input(x), train=True, step=self.step if step is None else step, visit=look)
        self.state.update(state)  # looking must not move the running statistics
        return found[0] if found else None

    # -- words ---------------------------------------------------------------------------------------------------

    def summary(self, plan: bool = False) -> str:
        """A table: each layer's name, kind, output shape and number of parameters; plan: also how each is done."""
        return summary_of(self.nodes, f"{self.dtype}, on {self.device.name}", self.executor.describe() if plan else "")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.nodes)} layers on {self.device.name}>"


class Sequential(Network):
    """A Network whose entries follow one another, the common case; it takes what Network takes."""
