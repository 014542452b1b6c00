"""A network as a scikit-learn classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import column_or_1d

from xpcnn.data.split import stratified_split
from xpcnn.device import Device
from xpcnn.errors import ConfigError, DataError
from xpcnn.layers import SoftmaxWithLoss
from xpcnn.ops.reference import softmax
from xpcnn.sklearn.base import Array, CNNEstimator
from xpcnn.sklearn.networks import Model

__all__ = ["CNNClassifier"]


class CNNClassifier(ClassifierMixin, CNNEstimator):
    """A convolutional network that tells classes apart, trained by softmax and cross-entropy.

    X is (N, C, H, W), or (N, features), which `image_shape` makes pictures of; without it they stay features. All is
    calculated in float32. Give X of about -1..1: a network, unlike a tree, minds the scale.

    image_shape: (C, H, W) of a sample, or None.
    model: "auto" (two convolutions and a hidden layer for pictures, one hidden layer for features), a name of
        xpcnn.models such as "simple", the layers as for Sequential (the last one with an output a class), or a
        function model(image_shape, outputs) that makes a Network; it is given seed= where it takes that.
    epochs, batch_size: passes over the data and samples a step.
    optimizer, lr, optimizer_param, schedule: see xpcnn.optimizers and xpcnn.schedules; optimizer_param holds further
        settings, such as {"weight_decay": 1e-4}.
    augment: see xpcnn.data.augment.
    early_stopping: holds `validation_fraction` of the samples back, stops once their loss has not fallen by more than
        `tol` for `n_iter_no_change` epochs, and goes back to the best epoch.
    class_weight: what a sample of each class counts in the loss: {class: weight}, "balanced" (as if all classes were
        as frequent) or None.
    warm_start: a further `fit` goes on for `epochs` more instead of beginning anew.
    random_state: of weights, shuffling, dropout and what is held back; equal numbers give equal bits with as many
        threads.
    device: "cpu", "cuda", "auto". threads: of the CPU, None for all cores (take 1 beside n_jobs).
    verbose: 1 shows each epoch.

    After fitting: classes_, n_features_in_, input_shape_, network_ (a Network), n_iter_ (epochs so far), loss_curve_
    (each epoch's mean training loss) and validation_loss_curve_ (early stopping's).
    """

    def __init__(
        self,
        image_shape: Sequence[int] | None = None,
        model: Model = "auto",
        *,
        epochs: int = 50,
        batch_size: int = 32,
        optimizer: str = "adam",
        lr: float = 0.001,
        optimizer_param: Mapping[str, Any] | None = None,
        schedule: str = "constant",
        augment: Callable[[Array, np.random.Generator], Array] | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 0.0001,
        class_weight: Mapping[Any, float] | str | None = None,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        device: str | Device = "cpu",
        threads: int | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            image_shape,
            model,
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            lr=lr,
            optimizer_param=optimizer_param,
            schedule=schedule,
            augment=augment,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            tol=tol,
            warm_start=warm_start,
            random_state=random_state,
            device=device,
            threads=threads,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """One pass over X and y, going on from what was learned; returns itself.

        classes: all that there will be; the first call needs them. Nothing is held back for early stopping. k calls
        with the same data are one `fit` of k epochs (at a constant schedule). Raises ValueError for labels that are
        none of the classes.
        """
        if self.class_weight == "balanced":
            raise ConfigError('class_weight="balanced" needs all samples at once; give {class: weight} to partial_fit')
        return self._fit_part(X, y, classes)

    def predict(self, X: Any) -> Array:
        """The likeliest class of each sample, (N,)."""
        scores = self._scores(X)
        chosen: Array = self.classes_[scores.argmax(axis=1)]
        return chosen

    def predict_proba(self, X: Any) -> Array:
        """Each class's probability, (N, classes), float32, in the order of classes_."""
        probabilities: Array = softmax(self._scores(X))
        return probabilities

    def decision_function(self, X: Any) -> Array:
        """The scores before softmax, (N, classes); of two classes the second's score over the first's, (N,)."""
        scores = self._scores(X)
        difference: Array = scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores
        return difference

    # -- for the base ----------------------------------------------------------------------------------------------

    def _checked_targets(self, y: Array, fresh: bool, classes: Any) -> tuple[Array, int]:
        check_classification_targets(y)
        y = column_or_1d(y)
        if fresh:
            self.classes_ = unique_labels(y if classes is None else classes)
        elif classes is not None and not np.array_equal(unique_labels(classes), self.classes_):
            raise DataError(f"classes are {self.classes_} since the first call, got {classes!r}")
        strange = np.setdiff1d(y, self.classes_)
        if len(strange):
            raise DataError(f"y holds {strange[:5]}, but the classes are {self.classes_}; give all to the first call")
        return np.searchsorted(self.classes_, y), len(self.classes_)

    def _held_out(self, t: Array) -> Array:
        held = stratified_split(t, self._seed, self._share_held_out())[1]
        if not len(held):
            raise ConfigError("early stopping holds samples back, but no class has two; set early_stopping=False")
        return held

    def _set_loss(self, t: Array) -> None:
        if self.class_weight is not None:
            weights = compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_[t])
            smoothing = getattr(self.network_.loss_layer, "label_smoothing", 0.0)  # of a network that `model` made
            self.network_.use_loss(SoftmaxWithLoss(smoothing, weights))
