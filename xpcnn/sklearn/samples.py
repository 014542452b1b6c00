"""What scikit-learn calls X, as the batch that a network takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from xpcnn.errors import ConfigError, ShapeError
from xpcnn.layers.base import Shape
from xpcnn.network_words import warn_unscaled

__all__ = ["as_rows", "same_shape", "sample_shape", "warn_of_bytes"]


def as_rows(X: Any) -> tuple[Any, Shape | None]:
    """X as rows of features, and the shape (C, H, W) of its samples where it came as pictures (N, C, H, W).

    Anything else is left to scikit-learn's own checks, but ShapeError says what to do about pictures without a channel.
    """
    X = np.asarray(X) if isinstance(X, list | tuple) else X
    ndim = getattr(X, "ndim", 2)
    if ndim == 3:
        raise ShapeError(
            f"X is of shape (N, features) or (N, C, H, W), got {tuple(X.shape)}. Reshape your data, "
            "with X[:, None] where these are pictures of one channel"
        )
    if ndim != 4:
        return X, None
    X = np.asarray(X)
    return X.reshape(len(X), math.prod(X.shape[1:])), X.shape[1:]


def sample_shape(image_shape: Sequence[int] | None, given: Shape | None, features: int) -> Shape:
    """The shape of a sample: image_shape, else that of the pictures given, else (features,).

    Raises ConfigError for an image_shape that is none, ShapeError where the data does not have it.
    """
    if image_shape is None:
        return (features,) if given is None else given
    try:
        shape = tuple(int(n) for n in image_shape)
    except (TypeError, ValueError):
        shape = ()
    if len(shape) != 3 or min(shape) < 1:
        raise ConfigError(f"image_shape is (C, H, W), such as (1, 8, 8), or None, got {image_shape!r}")
    if math.prod(shape) != features or given not in (None, shape):
        has = f"{features} features" if given is None else f"shape {given}"
        raise ShapeError(f"image_shape is {shape}, {math.prod(shape)} features, but the samples of X have {has}")
    return shape


def same_shape(fitted: Shape, given: Shape | None) -> Shape:
    """The shape that was fitted. Raises ShapeError for pictures of another, however many features both have."""
    if given is not None and len(fitted) == 3 and given != fitted:
        raise ShapeError(f"the network was fitted on samples of {fitted}, got pictures of {given}")
    return fitted


def warn_of_bytes(X: np.ndarray[Any, Any]) -> None:
    """Warns of pictures of 0..255, for which initial weights and learning rates are not made."""
    if X.size and X.min() == 0 and X.max() == 255:
        warn_unscaled("X", "give X / 255.0, or put a scaler before the network with sklearn.pipeline.make_pipeline")
