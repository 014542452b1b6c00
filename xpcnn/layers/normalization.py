"""Normalisation layers."""

from __future__ import annotations

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers.base import Context, GradientAttribute, Layer, ParameterAttribute, Shape
from xpcnn.ops import reference
from xpcnn.ops.geometry import whole

__all__ = ["BatchNormalization", "LocalResponseNormalization"]


class BatchNormalization(Layer):
    """Normalises each channel over the batch, then scales by gamma and shifts by beta (Ioffe & Szegedy 2015).

    On pictures (N, C, H, W) the statistics are over N, H and W, one per channel, and so over all places of (N, C, ...);
    on (N, D) over N. Training time uses the batch's own and updates running = momentum * running + (1 - momentum) *
    batch, both with the biased variance as in the book's section 6.3; test time uses the running ones.
    gamma, beta, running_mean, running_var: (C,). running: False takes the batch's own at test time too, which a
    Network, whose samples must not mix, does not allow.
    """

    gamma = ParameterAttribute["BatchNormalization"]("gamma")
    beta = ParameterAttribute["BatchNormalization"]("beta")
    dgamma = GradientAttribute["BatchNormalization"]("gamma")
    dbeta = GradientAttribute["BatchNormalization"]("beta")
    needs_whole_batch = True

    def __init__(
        self,
        gamma: Array,
        beta: Array,
        momentum: float = 0.9,
        running_mean: Array | None = None,
        running_var: Array | None = None,
        eps: float = 1e-5,
        running: bool = True,
    ) -> None:
        super().__init__()
        if gamma.ndim != 1 or beta.shape != gamma.shape:
            raise ShapeError(f"gamma and beta have one shape (C,), got {gamma.shape} and {beta.shape}")
        if not 0.0 <= momentum <= 1.0:
            raise ConfigError(f"batch normalisation's momentum lies in 0..1, got {momentum}")
        xp = get_array_module(gamma, beta)
        self.params["gamma"], self.params["beta"] = gamma, beta
        # Copies: training updates them in place, and the caller's arrays are the caller's.
        self.state["running_mean"] = xp.zeros_like(gamma) if running_mean is None else running_mean.copy()
        self.state["running_var"] = xp.ones_like(gamma) if running_var is None else running_var.copy()
        self.momentum, self.eps, self.running = float(momentum), float(eps), bool(running)

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        C = self.params["gamma"].shape[0]
        if not shape or shape[0] != C:
            raise ShapeError(f"wanted ({C},) or ({C}, ...), got {shape}")
        if not self.running:
            raise ShapeError("without running statistics the samples of a batch mix at test time; use running=True")
        return shape

    def move_running(self, mean: Array, var: Array) -> None:
        """Lets the running statistics follow a batch's, in place."""
        for name, new in (("running_mean", mean), ("running_var", var)):
            running = self.state[name]
            running *= self.momentum
            running += new * (1.0 - self.momentum)

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        gamma, beta = self.params["gamma"], self.params["beta"]
        if not ctx.train and self.running:
            mean, var = self.state["running_mean"], self.state["running_var"]
            y, x_hat, inverse_std = reference.batch_norm_apply(x, gamma, beta, mean, var, self.eps)
        else:
            if x.size == 0 and ctx.total is None:  # NaN would settle in the running statistics
                raise ShapeError(f"the statistics of an empty batch are not defined, got shape {x.shape}")
            y, x_hat, inverse_std, mean, var = reference.batch_norm_forward(
                x, gamma, beta, self.eps, ctx.total, ctx.samples
            )
            if ctx.train:
                self.move_running(mean, var)
        ctx.save(x_hat, inverse_std)
        return y

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        x_hat, inverse_std = ctx.load()
        dx, ctx.grads["gamma"], ctx.grads["beta"] = reference.batch_norm_backward(
            dout, x_hat, self.params["gamma"], inverse_std, ctx.train or not self.running, ctx.total, ctx.samples
        )
        return dx


class LocalResponseNormalization(Layer):
    """Divides each element by a power of its neighbouring channels' squares (Krizhevsky et al. 2012, section 3.3).

    x / (k + alpha * sum over `size` channels of x**2) ** beta, on (N, C, ...); defaults are the paper's.
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0) -> None:
        super().__init__()
        if whole(size, "the number of channels looked at", least=0) < 1:
            raise ConfigError(f"local response normalisation looks at 1 channel or more, got size={size}")
        self.size, self.alpha, self.beta, self.k = int(size), float(alpha), float(beta), float(k)

    def output_shape(self, *shapes: Shape) -> Shape:
        if not shapes[0]:
            raise ShapeError(f"wanted channels (C, ...), got {shapes[0]}")
        return shapes[0]

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        y, bracket = reference.lrn_forward(x, self.size, self.alpha, self.beta, self.k)
        ctx.save(x, bracket)
        return y

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        x, bracket = ctx.load()
        return reference.lrn_backward(dout, x, bracket, self.size, self.alpha, self.beta)
