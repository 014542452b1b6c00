"""`python -m xpcnn.onnx`: the tables of docs/interop.md, as they follow from the code."""

from __future__ import annotations

from xpcnn.onnx import exporters, operators  # noqa: F401  (register theirs)
from xpcnn.onnx.call import OPERATORS
from xpcnn.onnx.writing import EXPORTERS

__all__ = ["tables"]


def tables() -> str:
    """Two tables in Markdown: operators that are read, and layers that are written."""
    lines = ["| operator | meanings that began in opset |", "|---|---|"]
    for (domain, name), known in sorted(OPERATORS.items()):
        lines.append(f"| {f'{domain}.{name}'.lstrip('.')} | {', '.join(map(str, known.versions))} |")
    lines += ["", f"{len(OPERATORS)} operators.", "", "| layers written |", "|---|"]
    lines += [f"| {kind} |" for kind in sorted(kind.__name__ for kind in EXPORTERS)]
    return "\n".join(lines)


if __name__ == "__main__":
    print(tables())
