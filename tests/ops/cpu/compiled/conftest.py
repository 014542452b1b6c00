"""All tests of this folder compile for real, but leave the user's cache folder alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from xpcnn.ops.cpu.compiled import cache


@pytest.fixture(autouse=True, scope="session")
def _no_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A file stands where the cache folder should be: nothing is kept, nothing waits for the disk."""
    blocked = tmp_path_factory.mktemp("blocked") / "a file"
    blocked.write_text("no folder")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "cache_folder", lambda: blocked / "kernels")
        yield
