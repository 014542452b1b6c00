"""First values of weights, by the book's words and the papers' names.

All are drawn in float64 and rounded once, so that a seed gives the same weights in float32 as in float64, up to
that rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from xpcnn.errors import ConfigError

__all__ = ["WORDS", "initial_weight"]

# fan_in, fan_out -> standard deviation of a normal distribution
_NORMAL: dict[str, Callable[[int, int], float]] = {
    "he": lambda fan_in, fan_out: math.sqrt(2.0 / fan_in),
    "relu": lambda fan_in, fan_out: math.sqrt(2.0 / fan_in),
    "xavier": lambda fan_in, fan_out: math.sqrt(1.0 / fan_in),
    "sigmoid": lambda fan_in, fan_out: math.sqrt(1.0 / fan_in),
    "glorot": lambda fan_in, fan_out: math.sqrt(2.0 / (fan_in + fan_out)),
}
# A uniform distribution over [-a, a] has the standard deviation a / sqrt(3).
_UNIFORM: dict[str, Callable[[int, int], float]] = {
    "he_uniform": lambda fan_in, fan_out: math.sqrt(3.0) * _NORMAL["he"](fan_in, fan_out),
    "glorot_uniform": lambda fan_in, fan_out: math.sqrt(3.0) * _NORMAL["glorot"](fan_in, fan_out),
}
_BEYOND = 1e30  # a standard deviation whose draws float32 could not hold
WORDS = (*_NORMAL, *_UNIFORM, "orthogonal", "zeros")


def initial_weight(
    shape: tuple[int, ...],
    fan_in: int,
    fan_out: int,
    how: float | str,
    rng: np.random.Generator,
    dtype: str | np.dtype = "float32",
) -> np.ndarray:
    """A weight array of `shape` and `dtype` (float32 or float64), drawn from `rng`.

    fan_in, fan_out: how many inputs one output sums over, and how many outputs one input reaches; for a convolution
    both count the filter's elements.
    how: a number is the standard deviation of a normal distribution (the book's weight_init_std), or a word:
        "he", "relu"        normal, variance 2 / fan_in (He et al. 2015; the book, 6.2.3)
        "xavier", "sigmoid" normal, variance 1 / fan_in (what the book, 6.2.2, calls Xavier)
        "glorot"            normal, variance 2 / (fan_in + fan_out): Glorot and Bengio 2010 themselves, who weigh the
                            way back as well; the same as "xavier" where fan_in = fan_out
        "he_uniform", "glorot_uniform"  the same variances, uniform
        "orthogonal"        rows (or columns, whichever are fewer) of the array flattened to (shape[0], -1) are
                            orthonormal (Saxe et al. 2014)
        "zeros"

    Raises ConfigError for an unknown word (listing the known), a bad number, fan, or dtype.
    """
    kind = _float_dtype(dtype)
    for name, fan in (("fan_in", fan_in), ("fan_out", fan_out)):
        if isinstance(fan, bool) or fan < 1:
            raise ConfigError(f"{name} is {fan!r}; it must be at least 1")
    if isinstance(how, str):
        word = how.strip().lower()
        if word in _NORMAL:
            drawn = rng.standard_normal(shape) * _NORMAL[word](fan_in, fan_out)
        elif word in _UNIFORM:
            limit = _UNIFORM[word](fan_in, fan_out)
            drawn = rng.uniform(-limit, limit, shape)
        elif word == "orthogonal":
            drawn = _orthogonal(shape, rng)
        elif word == "zeros":
            drawn = np.zeros(shape)
        else:
            raise ConfigError(f"no initial weight is called {how!r}; give a standard deviation or {', '.join(WORDS)}")
    else:
        drawn = rng.standard_normal(shape) * _deviation(how)
    return drawn.astype(kind, order="C")


def _orthogonal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if len(shape) < 2 or 0 in shape:
        raise ConfigError(f'"orthogonal" needs a shape of at least two axes, none of them 0; this one is {shape}')
    rows, columns = shape[0], math.prod(shape[1:])
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.where(np.diag(r) < 0, -1.0, 1.0)  # makes the draw uniform over all such matrices (Mezzadri 2007)
    return (q if rows >= columns else q.T).reshape(shape)


def _deviation(how: float) -> float:
    try:
        value = math.nan if isinstance(how, bool) else float(how)
    except (TypeError, ValueError):
        value = math.nan
    if not (0.0 <= value < _BEYOND):
        raise ConfigError(
            f"the initial weight is {how!r}; "
            f"give a standard deviation of at least 0 (and below 1e30) or {', '.join(WORDS)}"
        )
    return value


def _float_dtype(dtype: str | np.dtype) -> np.dtype:
    try:
        kind = np.dtype(dtype)
    except TypeError:
        kind = np.dtype(object)
    if kind not in (np.float32, np.float64):
        raise ConfigError(f'dtype is {dtype!r}; use "float32" or "float64"')
    return kind
