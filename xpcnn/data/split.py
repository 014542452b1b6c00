"""Cutting one labelled set into a training and a test part."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.rng import generator

__all__ = ["stratified_split"]


def stratified_split(
    labels: np.ndarray[Any, Any], seed: int, test_fraction: float = 0.2
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Indices (training, test), each sorted, with about `test_fraction` of every class in the test part.

    labels: int (N,). A class of two or more gives at least one to each part; a class of one stays in training.
    """
    rng = generator(seed, "split")
    test = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(max(1, round(len(members) * test_fraction)), len(members) - 1)
        test.append(rng.permutation(members)[:count])
    chosen = np.zeros(len(labels), bool)
    if test:
        chosen[np.concatenate(test)] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
