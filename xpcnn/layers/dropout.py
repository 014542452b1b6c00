"""Dropout (book, section 6.4.3; Srivastava et al. 2014)."""

from __future__ import annotations

from xpcnn.device import Array, get_array_module
from xpcnn.errors import ConfigError
from xpcnn.layers.base import Context, Layer
from xpcnn.ops import reference
from xpcnn.rng import fresh_seed, keep_mask

__all__ = ["Dropout"]


class Dropout(Layer):
    """Training time sets a share `ratio` of the elements to 0.

    inverted: True divides the kept ones by 1 - ratio, so that test time changes nothing; False is the book's rule,
    which multiplies by 1 - ratio at test time. seed: for the layer on its own (None draws one); in a network the
    network's seed counts. Raises ConfigError for a ratio outside 0..1 (1 itself only makes sense for nobody).
    """

    def __init__(self, ratio: float = 0.5, inverted: bool = True, seed: int | None = None) -> None:
        super().__init__()
        if not 0.0 <= ratio < 1.0:
            raise ConfigError(f"a dropout ratio lies in 0 <= ratio < 1, got {ratio}")
        self.ratio, self.inverted = float(ratio), inverted
        self.seed = fresh_seed() if seed is None else seed

    def forward_in(self, ctx: Context, *xs: Array) -> Array:
        (x,) = xs
        if not ctx.train:
            ctx.save(None)
            return x if self.inverted else x * (1.0 - self.ratio)
        mask = keep_mask(
            get_array_module(x),
            x.shape,
            1.0 - self.ratio,
            seed=self.seed if ctx.seed is None else ctx.seed,
            stream=ctx.stream,
            step=ctx.step,
            first=ctx.first,
        )
        ctx.save(mask)
        return reference.dropout(x, mask, self._scale)

    def backward_in(self, ctx: Context, dout: Array) -> Array:
        (mask,) = ctx.load()
        if mask is None:
            return dout if self.inverted else dout * (1.0 - self.ratio)
        return reference.dropout(dout, mask, self._scale)

    @property
    def _scale(self) -> float:
        return 1.0 / (1.0 - self.ratio) if self.inverted else 1.0
