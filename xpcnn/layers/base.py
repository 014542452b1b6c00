"""What a layer is: parameters, a forward and a backward, and a Context for what one pass keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

from xpcnn.device import Array
from xpcnn.errors import ShapeError

__all__ = ["Context", "Layer", "Shape"]

Shape = tuple[int, ...]  # of one sample, without N: (C, H, W) or (D,)


class Context:
    """One pass of one layer over one batch, or one piece of a batch: what forward keeps for backward.

    It is handed to the layer rather than kept in it, so that two threads can run one layer on two pieces.

    train: training time or test time. keep: whether a backward will follow. need_dx: whether anybody asks for the
    gradient of the input. seed, stream, step: name this pass's random numbers. first: index in the batch of the
    piece's first sample. total: where the rest of the batch is in other processes, adds an array up over all of
    them; samples: how many the whole batch has then. saved, grads: written by the layer.
    """

    __slots__ = (
        "first",
        "grads",
        "keep",
        "need_dx",
        "samples",
        "saved",
        "seed",
        "step",
        "stream",
        "total",
        "train",
    )

    def __init__(
        self,
        train: bool = False,
        *,
        keep: bool = True,
        need_dx: bool = True,
        seed: int | None = None,
        stream: int = 0,
        step: int = 0,
        first: int = 0,
        total: Callable[[Array], Array] | None = None,
        samples: int = 0,
    ) -> None:
        self.train = train
        self.keep = keep
        self.need_dx = need_dx
        self.seed = seed
        self.stream = stream
        self.step = step
        self.first = first
        self.total, self.samples = total, samples
        self.saved: tuple[Any, ...] | None = None
        self.grads: dict[str, Array] = {}

    def save(self, *values: Any) -> None:
        """Keeps `values` for the backward pass, where there will be one."""
        if self.keep:
            self.saved = values

    def load(self) -> tuple[Any, ...]:
        """What forward saved."""
        if self.saved is None:
            raise ShapeError("backward was called before forward; call forward on the same layer first")
        return self.saved


L = TypeVar("L", bound="Layer")


class ParameterAttribute(Generic[L]):
    """Makes `layer.W` stand for `layer.params["W"]`."""

    def __init__(self, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, layer: None, owner: type[L]) -> ParameterAttribute[L]: ...
    @overload
    def __get__(self, layer: L, owner: type[L]) -> Any: ...
    def __get__(self, layer: L | None, owner: type[L]) -> Any:
        return self if layer is None else layer.params.get(self.name)

    def __set__(self, layer: L, value: Array) -> None:
        layer.set_param(self.name, value)


class GradientAttribute(Generic[L]):
    """Makes `layer.dW` stand for `layer.grads["W"]`; None before the first backward."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, layer: L | None, owner: type[L]) -> Any:
        return self if layer is None else layer.grads.get(self.name)


class Layer:
    """Base of all layers.

    A subclass writes `forward_in(ctx, x)` and `backward_in(ctx, dout)`; `forward` and `backward`, as in the book,
    run them in a context that the layer keeps for itself.

    params, grads: arrays by name. state: arrays that are saved with the parameters but not learned (running
    statistics). inputs: how many arrays forward takes (None: any number).
    """

    inputs: int | None = 1
    needs_whole_batch = False  # True where training couples the samples of a batch, as batch normalisation does

    def __init__(self) -> None:
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self.state: dict[str, Array] = {}
        self.calls = 0  # numbers the standalone passes, so that each draws its own random numbers
        self._context: Context | None = None

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        """Output for one batch; keeps in `ctx` what backward needs."""
        raise NotImplementedError

    def backward_in(self, ctx: Context, dout: Array) -> Any:
        """Gradient of the input (a tuple where there are several); puts the parameters' gradients into ctx.grads."""
        raise NotImplementedError

    def output_shape(self, *shapes: Shape) -> Shape:
        """Shape of one sample's output from the shapes of its inputs, without N. Raises ShapeError."""
        return shapes[0]

    def forward(self, *xs: Array, train: bool = False) -> Array:
        """Output for x (N, ...). train: training time (dropout, batch statistics) or test time."""
        if self.inputs == 1 and len(xs) == 2 and isinstance(xs[-1], bool | int):
            xs, train = xs[:1], bool(xs[-1])  # the book's layer.forward(x, train_flg)
        if self.inputs is not None and len(xs) != self.inputs:
            raise ShapeError(f"{type(self).__name__}.forward takes {self.inputs} array(s), got {len(xs)}")
        self._context = Context(train, step=self.calls)
        self.calls += 1
        return self.forward_in(self._context, *xs)

    def backward(self, dout: Array) -> Any:
        """Gradient of the last forward's input from the gradient of its output; sets `grads`."""
        if self._context is None:
            raise ShapeError(f"{type(self).__name__}.backward was called before forward; call forward first")
        dx = self.backward_in(self._context, dout)
        self.grads = self._context.grads
        return dx

    def set_param(self, name: str, value: Array) -> None:
        """Replaces a parameter by an array of the same shape. Raises ShapeError for another shape."""
        old = self.params.get(name)
        if old is None:
            raise ShapeError(f"{type(self).__name__} has no parameter {name!r}; it has {sorted(self.params)}")
        if value.shape != old.shape:
            raise ShapeError(f"{type(self).__name__}.{name} has shape {old.shape}, got an array of {value.shape}")
        self.params[name] = value

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}={a.shape}" for name, a in self.params.items())
        return f"{type(self).__name__}({sizes})"
