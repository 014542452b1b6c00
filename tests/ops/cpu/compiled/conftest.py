"""All tests of this folder compile for real, but leave the user's cache folder alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="session")
def _cache_that_cannot_be_written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A file stands where the cache folder's parent should be: nothing is kept, nothing waits for the disk."""
    from xpcnn.ops.cpu.compiled import native

    blocked: Path = tmp_path_factory.mktemp("blocked") / "a file"
    blocked.write_text("no folder")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "cache_folder", lambda: blocked / "kernels")
        yield
