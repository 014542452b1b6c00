"""The examples of docs/sklearn.md, run as they stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_PAGE = Path(__file__).parents[2] / "docs" / "sklearn.md"


def test_the_examples_give_what_they_say() -> None:
    blocks = [part.partition("```")[0] for part in _PAGE.read_text(encoding="utf-8").split("```python\n")[1:]]
    assert len(blocks) == 2
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(_PAGE), "exec"), names)
    assert names["accuracy"] >= 0.97
    assert names["r2"] > 0.9
