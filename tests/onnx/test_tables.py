"""docs/interop.md says what the code says."""

from __future__ import annotations

from pathlib import Path

import onnx.defs

from xpcnn.onnx.__main__ import tables
from xpcnn.onnx.call import OPERATORS

DOCS = Path(__file__).parents[2] / "docs" / "interop.md"


def test_the_tables_in_the_documentation():
    text = DOCS.read_text(encoding="utf-8")
    between = text.partition("<!-- tables -->")[2].partition("<!-- /tables -->")[0]
    assert between.strip() == tables(), "put what `python -m xpcnn.onnx` prints between the marks"


def test_every_version_that_is_claimed_exists_and_none_up_to_opset_25_is_forgotten():
    began: dict[tuple[str, str], set[int]] = {}
    withdrawn: set[tuple[str, int]] = set()
    for schema in onnx.defs.get_all_schemas_with_history():
        began.setdefault((schema.domain, schema.name), set()).add(schema.since_version)
        if schema.deprecated:
            withdrawn.add((schema.name, schema.since_version))
    for (domain, name), known in OPERATORS.items():
        claimed, there = set(known.versions), began[domain, name]
        assert claimed <= there, f"{name}: {sorted(claimed - there)} are no versions of it"
        wanted = {v for v in there if 7 <= v <= 25 and (name, v) not in withdrawn}
        assert wanted <= claimed, f"{name}: {sorted(wanted - claimed)} are not known"
        assert any(v <= 7 for v in claimed) or min(there) > 7 or max(v for v in there if v <= 7) in claimed, name
