"""Official tests that are not run although xpcnn knows their operators, with the reason for each."""

from __future__ import annotations

import re

# (pattern of names, reason)
EXCLUDED: tuple[tuple[str, str], ...] = (
    ("FLOAT8|FLOAT4|float8|float4", "numbers of 8 or 4 bits, which neither NumPy nor CuPy calculates with"),
    ("U?INT[24](_|$)|u?int[24](_|$)", "integers of 4 or 2 bits, which neither NumPy nor CuPy has"),
    (
        "^test_(?!compress_|onehot_|range_bfloat16_type_positive_delta$|einsum_transpose|reversesequence|unique).*(bfloat16|bf16|BFLOAT16)",
        "bfloat16, which neither NumPy nor CuPy calculates with",
    ),
    ("^test_identity_(opt|sequence)$", "sequences and optionals, which no CNN takes"),
)


def reason_for(name: str) -> str | None:
    """Why the test of this name is left out; None where it is not."""
    return next((reason for pattern, reason in EXCLUDED if re.search(pattern, name)), None)
