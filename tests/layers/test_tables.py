"""docs/layers.md says what the code says."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xpcnn import Network, layers
from xpcnn.errors import ShapeError
from xpcnn.layers import Layer, Loss, Spec
from xpcnn.layers.__main__ import EXAMPLES, tables
from xpcnn.layers.spec import WORDS

DOCS = Path(__file__).parents[2] / "docs" / "layers.md"


def test_the_tables_in_the_documentation() -> None:
    text = DOCS.read_text(encoding="utf-8")
    between = text.partition("<!-- tables -->")[2].partition("<!-- /tables -->")[0]
    assert between.strip() == tables(), "put what `python -m xpcnn.layers` prints between the marks"


def test_the_example_in_the_documentation() -> None:
    names: dict[str, Any] = {}
    exec(DOCS.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0], names)
    assert names["net"].predict(np.zeros((2, 1, 28, 28), dtype=np.float32)).shape == (2, 10)


def test_nothing_public_is_left_out() -> None:
    public = {name: getattr(layers, name) for name in layers.__all__}
    kinds = {n for n, a in public.items() if isinstance(a, type) and issubclass(a, Layer | Loss)} - {"Layer", "Loss"}
    text = tables()
    rows = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(kinds)
    functions = {name for name, a in public.items() if inspect.isfunction(a)}
    assert {spec.call.func.__name__ for spec, _ in EXAMPLES if spec.call} == functions
    assert [word for word in WORDS if f'`"{word}"`' not in text] == []


@pytest.mark.parametrize("spec", [spec for spec, _ in EXAMPLES] + sorted(WORDS), ids=str)
def test_too_many_inputs_are_said_to_be_so(spec: Any) -> None:
    shape = next((shape for other, shape in EXAMPLES if other is spec), (4, 6, 6))
    items = [("a", "relu"), ("b", "relu", "input"), ("x", spec, ("a", "b", "a"))]
    made = spec if isinstance(spec, Spec) else WORDS[spec]()
    if made.kind in ("add", "concatenate"):
        assert Network(items, shape).layers["x"].inputs is None
        return
    takes = 2 if made.kind in ("divide", "multiply", "subtract") else 1
    with pytest.raises(ShapeError, match=rf"layer 'x' .* takes {takes} input\(s\), got 3"):
        Network(items, shape)
