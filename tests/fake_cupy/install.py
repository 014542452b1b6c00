"""Puts the double in CuPy's place, and takes it away again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.fake_cupy.modules import Module, modules


@contextmanager
def installed() -> Iterator[Module]:
    """Inside the block, `import cupy` gives the double; before and after, what it gave."""
    before = {name: sys.modules[name] for name in sys.modules if name.split(".")[0] in ("cupy", "cupyx")}
    for name in before:
        del sys.modules[name]
    sys.modules.update(modules())
    try:
        yield modules()["cupy"]
    finally:
        for name in modules():
            sys.modules.pop(name, None)
        sys.modules.update(before)
