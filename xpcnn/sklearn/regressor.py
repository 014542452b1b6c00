"""A network as a scikit-learn regressor."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import RegressorMixin

from xpcnn.errors import ConfigError
from xpcnn.layers import MeanSquaredError, SoftmaxWithLoss
from xpcnn.rng import generator
from xpcnn.sklearn.base import Array, CNNEstimator

__all__ = ["CNNRegressor"]


class CNNRegressor(RegressorMixin, CNNEstimator):
    """A convolutional network that gives one number a sample, or several, trained by the mean squared error.

    X, parameters and what there is after fitting are as in CNNClassifier, but for classes. y is (N,) or (N, M), in any
    unit: the network learns (y - target_mean_) / target_scale_, of which loss_curve_ tells. Predictions have y's dtype
    where that is float32 or float64, else float32, and never more than float32's seven digits of the range of y.
    A `model` needs as many outputs as y has columns. A network that it makes keeps its own loss, but for a
    SoftmaxWithLoss.
    """

    _y_words: ClassVar[dict[str, bool]] = {"y_numeric": True, "multi_output": True}

    def partial_fit(self, X: Any, y: Any) -> Self:
        """One pass over X and y, going on from what was learned; returns itself.

        The first call sets target_mean_ and target_scale_ for all. Nothing is held back for early stopping.
        """
        return self._fit_part(X, y, None)

    def predict(self, X: Any) -> Array:
        """The number of each sample, of y's shape: (N,) or (N, M)."""
        y = self._scores(X).astype(np.float64) * self.target_scale_ + self.target_mean_
        given: Array = (y[:, 0] if self._one_number else y).astype(self._y_dtype)
        return given

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    # -- for the base ----------------------------------------------------------------------------------------------

    def _checked_targets(self, y: Array, fresh: bool, classes: Any) -> tuple[Array, int]:
        columns = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        if fresh:
            self.target_mean_ = columns.mean(axis=0)
            deviation = columns.std(axis=0)
            # What is constant up to rounding has no scale of its own.
            constant = deviation <= 10 * np.finfo(np.float64).eps * np.abs(self.target_mean_)
            self.target_scale_ = np.where(constant, 1.0, deviation)
            self._one_number = y.ndim == 1
            self._y_dtype = y.dtype if y.dtype in (np.float32, np.float64) else np.dtype(np.float32)
        if columns.shape[1] != len(self.target_mean_):
            raise ConfigError(f"y has {len(self.target_mean_)} column(s) since the first call, got {columns.shape[1]}")
        standardised = (columns - self.target_mean_) / self.target_scale_
        return standardised.astype(np.float32), columns.shape[1]

    def _held_out(self, t: Array) -> Array:
        count = max(1, round(len(t) * self._share_held_out()))
        if count >= len(t):
            raise ConfigError(f"early stopping holds {count} of {len(t)} sample(s) back; set early_stopping=False")
        return generator(self._seed, "split").permutation(len(t))[:count]

    def _set_loss(self, t: Array) -> None:
        if isinstance(self.network_.loss_layer, SoftmaxWithLoss):
            self.network_.use_loss(MeanSquaredError())
