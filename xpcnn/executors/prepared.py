"""What stages made of their parameters for prediction, kept as long as the parameters stay as they were."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xpcnn.device import Array
from xpcnn.executors.stages import Stage

__all__ = ["Prepared"]


def _find_memcmp() -> Callable[[int, int, int], int] | None:
    """C's memcmp, which stops at the first difference and needs no room for its findings; None where there is none."""
    try:
        function = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None).memcmp
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    function.restype = ctypes.c_int
    return function


_memcmp = _find_memcmp()


class Prepared:
    """by_stage: what `Stage.prepare` made. `holds` tells whether it would make the same again.

    Nobody says when a parameter has been written to, so the arrays are compared with copies, every byte, each time.
    before: whose parts are taken over where they still hold.
    """

    def __init__(self, stages: Sequence[Stage], before: Prepared | None = None) -> None:
        self.by_stage: dict[Stage, Any] = {}
        self._pairs: dict[Stage, list[_Pair]] = {}
        for stage in stages:
            if before is not None and before._still(stage):
                self._pairs[stage], self.by_stage[stage] = before._pairs[stage], before.by_stage[stage]
            else:
                # Copies before preparing: a change in between is then seen the next time.
                self._pairs[stage] = [_Pair(a) for a in stage.watched()]
                self.by_stage[stage] = stage.prepare(False)
        self._compared = [pair for pairs in self._pairs.values() for pair in pairs]
        layers = [node.layer for stage in stages for node in stage.nodes]
        self._layers = [(layer, layer.params, layer.state) for layer in layers if layer.params or layer.state]
        self._arrays = [(named, name, a) for _, *both in self._layers for named in both for name, a in named.items()]

    def holds(self) -> bool:
        """Whether all parameters are the same arrays as before, and those that something was made of are unchanged."""
        return (
            all(layer.params is params and layer.state is state for layer, params, state in self._layers)
            and all(named.get(name) is a for named, name, a in self._arrays)
            and all(pair.same() for pair in self._compared)
        )

    def _still(self, stage: Stage) -> bool:
        pairs, watched = self._pairs.get(stage), stage.watched()
        return pairs is not None and all(p.a is a and p.same() for p, a in zip(pairs, watched, strict=True))


class _Pair:
    """An array and the copy that was made of it."""

    def __init__(self, a: Array) -> None:
        self.a, self.copy = a, a.copy()
        if _memcmp is not None and a.flags.c_contiguous:
            arguments = a.ctypes.data, self.copy.ctypes.data, a.nbytes
            self.same: Callable[[], bool] = lambda: not _memcmp(*arguments)
        else:
            self.same = lambda: np.array_equal(self.a, self.copy)
