"""Small networks that have every layer in them, most of them in several of its ways; for all tests of the exporters."""

from __future__ import annotations

from tests.onnx.exporters import cases_of_elements, cases_of_shapes, cases_of_windows
from tests.onnx.exporters.case import OPSETS, Case

__all__ = ["CASES", "OPSETS", "Case"]

_FAMILIES = (
    cases_of_elements.activations,
    cases_of_elements.elementwise,
    cases_of_elements.products,
    cases_of_windows.poolings,
    cases_of_windows.normalisations,
    cases_of_shapes.shapes,
    cases_of_shapes.resizes,
)
CASES = {case.name: case for family in _FAMILIES for case in family()}
