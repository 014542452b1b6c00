"""scikit-learn's own checks of what an estimator promises, all of them."""

from __future__ import annotations

from typing import Any

from sklearn.utils.estimator_checks import parametrize_with_checks

from xpcnn.sklearn import CNNClassifier, CNNRegressor


@parametrize_with_checks([CNNClassifier(), CNNRegressor()])
def test_scikit_learn_check(estimator: Any, check: Any) -> None:
    check(estimator)
