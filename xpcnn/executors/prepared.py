"""What stages made of their parameters for prediction, kept as long as the parameters stay as they were."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from operator import is_
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
        self._layers = [layer for layer in layers if layer.params or layer.state]
        self._named = [named for layer in self._layers for named in (layer.params, layer.state)]
        self._arrays = [a for named in self._named for a in named.values()]

    def holds(self) -> bool:
        """Whether all parameters are the same arrays as before, and those that something was made of are unchanged."""
        named = [n for layer in self._layers for n in (layer.params, layer.state)]
        arrays = [a for n in named for a in n.values()]
        # Loops written out: for one small picture this is a part of the time.
        if len(arrays) != len(self._arrays) or not all(map(is_, named, self._named)):
            return False
        if not all(map(is_, arrays, self._arrays)):
            return False
        for pair in self._compared:  # noqa: SIM110
            if not pair.same():
                return False
        return True

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
