"""Channels to pixels, pixels to channels, and channels among themselves."""

from __future__ import annotations

from xpcnn.device import Array
from xpcnn.errors import ShapeError

__all__ = ["channel_shuffle", "depth_to_space", "space_to_depth"]

_MODES = ("CRD", "DCR")


def channel_shuffle(x: Array, groups: int) -> Array:
    """Deals the channels out so that each group gets some of every group (Zhang et al. 2018, ShuffleNet).

    x: (N, C, ...), its channels seen as (groups, C/groups) and transposed. Its inverse, and so its gradient, is the
    shuffle with C/groups groups. Raises ShapeError where groups does not divide C.
    """
    N, C = x.shape[:2]
    if groups < 1 or C % groups:
        raise ShapeError(f"groups={groups} does not divide the {C} channels of an input of shape {x.shape}")
    return x.reshape(N, groups, C // groups, *x.shape[2:]).swapaxes(1, 2).reshape(x.shape)


def _check(x: Array, r: int, mode: str) -> None:
    if x.ndim != 4:
        raise ShapeError(f"wanted pictures (N, C, H, W), got an array of shape {x.shape}")
    if r < 1:
        raise ShapeError(f"the block of pixels has a side of at least 1, got {r}")
    if mode not in _MODES:
        raise ShapeError(f"the order of channels is one of {', '.join(_MODES)}, got {mode!r}")


def depth_to_space(x: Array, r: int, mode: str = "CRD") -> Array:
    """(N, C*r*r, H, W) to (N, C, H*r, W*r): r*r channels become a block of r by r pixels (Shi et al. 2016).

    mode "CRD": the block's channels lie side by side (PyTorch's PixelShuffle); "DCR": C apart. Raises ShapeError
    where r*r does not divide the channels.
    """
    _check(x, r, mode)
    N, D, H, W = x.shape
    if D % (r * r):
        raise ShapeError(f"blocks of {r}x{r} pixels need channels divisible by {r * r}, got {D} of shape {x.shape}")
    C = D // (r * r)
    if mode == "CRD":
        blocks = x.reshape(N, C, r, r, H, W).transpose(0, 1, 4, 2, 5, 3)
    else:
        blocks = x.reshape(N, r, r, C, H, W).transpose(0, 3, 4, 1, 5, 2)
    return blocks.reshape(N, C, H * r, W * r)


def space_to_depth(x: Array, r: int, mode: str = "DCR") -> Array:
    """(N, C, H, W) to (N, C*r*r, H/r, W/r): the inverse of `depth_to_space` of the same mode, and so its gradient.

    Raises ShapeError where r does not divide H and W.
    """
    _check(x, r, mode)
    N, C, H, W = x.shape
    if H % r or W % r:
        raise ShapeError(f"blocks of {r}x{r} pixels do not tile pictures of {H}x{W}")
    blocks = x.reshape(N, C, H // r, r, W // r, r)
    blocks = blocks.transpose(0, 1, 3, 5, 2, 4) if mode == "CRD" else blocks.transpose(0, 3, 5, 1, 2, 4)
    return blocks.reshape(N, C * r * r, H // r, W // r)
