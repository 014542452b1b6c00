"""What is wrong with a Trainer's samples, said before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xpcnn.errors import DataError, ShapeError
from xpcnn.network import Network
from xpcnn.network_words import check_batch, unscaled, warn_unscaled

__all__ = ["check_samples", "check_scale"]

_WHITE = 255


def check_samples(which: str, x: Any, t: Any, network: Network) -> None:
    """Raises DataError or ShapeError, naming x_`which` or t_`which`, for samples that `network` cannot learn from.

    Every number on the host is looked at once: afterwards they may lie on a GPU, where looking would stop it.
    """
    if len(x) != len(t) or len(x) == 0:
        raise DataError(f"x_{which} and t_{which} are as long as each other and not empty, got {len(x)} and {len(t)}")
    if not (isinstance(x, np.ndarray) and isinstance(t, np.ndarray)):
        return  # the Loader will say so
    network.loss_layer.check_output(network.output_shape, t)
    try:
        check_batch(x, network.input_shape, next(iter(network.nodes)))
    except ShapeError as error:
        raise ShapeError(f"x_{which}: {error}") from error
    try:
        network.loss_layer.check_targets(t, len(x), network.output_shape)
    except ShapeError as error:
        raise ShapeError(f"t_{which}: {error}") from error
    if x.dtype.kind == "f":
        _check_finite(f"x_{which}", x, network.dtype)


def _check_finite(name: str, x: np.ndarray[Any, Any], dtype: np.dtype) -> None:
    with np.errstate(invalid="ignore"):  # NaN is what is looked for
        low, high = float(x.min()), float(x.max())
    most = float(np.finfo(dtype).max)
    if low >= -most and high <= most:  # NaN fails this as well
        return
    row = next(i for i, sample in enumerate(x) if not (np.abs(sample) <= most).all())
    place = tuple(int(i) for i in np.argwhere(~(np.abs(x[row]) <= most))[0])
    value = float(x[row][place])
    what = f"{value:g}, which {dtype} cannot hold" if np.isfinite(value) else f"{value:g}"
    raise DataError(
        f"{name} holds {what}, first in sample {row} at {place}; "
        "leave such samples out or put numbers in their place (np.nan_to_num)"
    )


def check_scale(samples: Mapping[str, Any], scale: float | None) -> None:
    """Warns, once, of pictures of 0..255 that would go into the network so; scale=1.0 says that this is meant."""
    for name, x in samples.items():
        if not isinstance(x, np.ndarray) or (scale is not None and (scale == 1.0 or x.dtype.kind != "f")):
            continue  # floats are never scaled
        if unscaled(x) or (x.dtype != np.uint8 and x.dtype.kind in "iuf" and x.min() == 0 and x.max() == _WHITE):
            use = "give x / 255.0" if x.dtype.kind == "f" else "give the Trainer scale=1 / 255"
            warn_unscaled(name, f"{use}, or scale=1.0 where this is meant")
            return
