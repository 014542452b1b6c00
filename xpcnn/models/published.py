"""What the networks out of papers share: a variant for small pictures, and a config that makes them again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from xpcnn.device import Device
from xpcnn.errors import ConfigError
from xpcnn.network import Network

__all__ = ["PublishedNetwork", "variant_for"]

_SMALL = 64  # pixels: below this the published stems, which divide a side by 4 or more, leave little to see


def variant_for(variant: str | None, input_dim: Sequence[int]) -> str:
    """ "full" or "small": as given, else "small" for pictures with a side under 64. Raises ConfigError."""
    if variant is None:
        return "small" if min(input_dim[1:], default=_SMALL) < _SMALL else "full"
    if variant not in ("full", "small"):
        raise ConfigError(f'variant is "full", "small" or None, got {variant!r}')
    return variant


class PublishedNetwork(Network):
    """A network whose layers are called as torchvision calls its modules.

    name: as in xpcnn.models.MODELS. arguments: further ones that its maker takes, for `config`.
    """

    def __init__(
        self,
        name: str,
        layers: Iterable[object],
        input_dim: Sequence[int],
        output_size: int,
        *,
        seed: int | None,
        dtype: Any,
        device: str | Device | None,
        **arguments: Any,
    ) -> None:
        super().__init__(layers, input_dim, seed=seed, dtype=dtype, device=device, init="he")
        self.config = {"model": name, "input_dim": list(input_dim), "output_size": output_size, **arguments}
