"""An average of the parameters over the last steps, which predicts better than the last step's own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from xpcnn.device import Array, asnumpy
from xpcnn.errors import CheckpointError, ConfigError
from xpcnn.network import Network
from xpcnn.params import match_arrays

__all__ = ["Averaging"]


class Averaging:
    """Exponential moving average of a network's parameters and running statistics.

    After each step: average = decay * average + (1 - decay) * value, a mean over about the last 1 / (1 - decay)
    steps (Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging"). Over the first steps
    the decay is step / (step + 10) where that is less, so that the random start is forgotten soon. The running
    statistics of batch normalisation are averaged alike.

    The network holds either the values that the optimizer goes on from, or the averages in their place: `show` and
    `hide` exchange them. All is done in place on the network's device, and nothing waits for it.
    Raises ConfigError for a decay outside 0..1 (1 excluded).
    """

    def __init__(self, network: Network, decay: float) -> None:
        if isinstance(decay, bool) or not isinstance(decay, int | float) or not 0.0 <= decay < 1.0:
            raise ConfigError(f"average is a decay from 0 to below 1, such as 0.999, got {decay!r}")
        self.decay = float(decay)
        self.shown = False
        self._network = network
        self._aside = {name: a.copy() for name, a in network.arrays().items()}  # what the network does not hold
        largest = max((a.size for a in self._aside.values()), default=0)
        self._scratch = network.device.xp.empty(largest, dtype=network.param_dtype)

    def follow(self, step: int) -> None:
        """Takes in the values after optimizer step number `step`, counted from 1."""
        share = 1.0 - min(self.decay, step / (step + 10.0))
        xp = self._network.device.xp
        for name, value in self._network.arrays().items():
            average, room = self._aside[name], self._room(value)
            xp.subtract(value, average, out=room)
            xp.multiply(room, share, out=room)
            xp.add(average, room, out=average)

    def show(self) -> None:
        """Puts the averages into the network, if they are not there."""
        if not self.shown:
            self._exchange()

    def hide(self) -> None:
        """Puts the values that training goes on from into the network, if they are not there."""
        if self.shown:
            self._exchange()

    def _exchange(self) -> None:
        for name, value in self._network.arrays().items():
            aside, room = self._aside[name], self._room(value)
            room[...] = value
            value[...] = aside
            aside[...] = room
        self.shown = not self.shown

    def _room(self, like: Array) -> Array:
        return self._scratch[: like.size].reshape(like.shape)

    # -- for checkpoints -------------------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """(values, averages) on the host, as copies, whichever the network holds."""
        held = {name: np.array(asnumpy(a)) for name, a in self._network.arrays().items()}
        aside = {name: np.array(asnumpy(a)) for name, a in self._aside.items()}
        return (aside, held) if self.shown else (held, aside)

    def load(self, averages: Mapping[str, np.ndarray], source: object) -> None:
        """Takes back averages; the network holds the values already. Raises CheckpointError where they do not fit."""
        if not averages:
            raise CheckpointError(f"{source} holds no averages; it was made without averaging, go on without it")
        for name, a in match_arrays(self._aside, averages, source).items():
            self._aside[name][...] = self._network.device.asarray(a, self._network.dtype)
        self.shown = False
