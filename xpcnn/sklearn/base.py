"""What the classifier and the regressor share: parameters, samples, and training by the Trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from xpcnn.device import Device, asnumpy, get_device
from xpcnn.errors import ConfigError
from xpcnn.layers.base import Shape
from xpcnn.network import Network
from xpcnn.optimizers import make_optimizer
from xpcnn.sklearn.best import KeepBest
from xpcnn.sklearn.networks import Model, make_network
from xpcnn.sklearn.samples import as_rows, same_shape, sample_shape, warn_of_bytes
from xpcnn.training.callbacks import Callback, EarlyStopping
from xpcnn.training.trainer import Trainer

__all__ = ["CNNEstimator"]

Array = np.ndarray[Any, Any]


class CNNEstimator(BaseEstimator):
    """Base of the estimators; see CNNClassifier for the parameters."""

    _y_words: ClassVar[Mapping[str, bool]] = {}  # how scikit-learn's validate_data is to look at y

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
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        device: str | Device = "cpu",
        threads: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.image_shape = image_shape
        self.model = model
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.lr = lr
        self.optimizer_param = optimizer_param
        self.schedule = schedule
        self.augment = augment
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.threads = threads
        self.verbose = verbose

    # -- what the two differ in ------------------------------------------------------------------------------------

    def _checked_targets(self, y: Array, fresh: bool, classes: Any) -> tuple[Array, int]:
        """(what the loss takes, number of outputs); fresh: learns classes or scales from y anew."""
        raise NotImplementedError

    def _held_out(self, t: Array) -> Array:
        """Numbers of the samples that early stopping watches."""
        raise NotImplementedError

    def _set_loss(self, t: Array) -> None:
        """Gives network_ the loss to train with."""
        raise NotImplementedError

    # -- fitting ---------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any) -> Self:
        """Trains on X (N, features) or (N, C, H, W) and y (N,); returns itself.

        Begins with new weights, or with warm_start goes on from the last fit for `epochs` more. Raises ConfigError and
        ShapeError for parameters and data that do not fit, TrainingError where the loss is no longer finite.
        """
        X, t = self._begin(X, y, not (self.warm_start and self.__sklearn_is_fitted__()), None)
        held = self._held_out(t) if self.early_stopping else None
        return self._train(X, t, self.epochs, held)

    def _fit_part(self, X: Any, y: Any, classes: Any) -> Self:
        X, t = self._begin(X, y, not self.__sklearn_is_fitted__(), classes)
        return self._train(X, t, 1, None)

    def _begin(self, X: Any, y: Any, fresh: bool, classes: Any) -> tuple[Array, Array]:
        """Samples and targets as the Trainer takes them; fresh: with a new network for them."""
        X, given = as_rows(X)
        X, y = validate_data(self, X, y, dtype=np.float32, order="C", reset=fresh, **self._y_words)
        warn_of_bytes(X)
        shape = sample_shape(self.image_shape, given, X.shape[1]) if fresh else same_shape(self.input_shape_, given)
        t, outputs = self._checked_targets(y, fresh, classes)
        if fresh:
            self._seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
            self.network_: Network = make_network(self.model, shape, outputs, seed=self._seed, device=self.device)
            self.input_shape_: Shape = shape
            self.n_iter_ = 0
            self.loss_curve_: list[float] = []
            self.validation_loss_curve_: list[float] = []
            self._optimizer_state: tuple[str, dict[str, Array]] | None = None
        elif get_device(self.device) != self.network_.device:
            self.network_.to(self.device)
        self._set_loss(t)
        if self.network_.threads != self.threads:
            self.network_.use_threads(self.threads)
        return X.reshape(len(X), *shape), t

    def _train(self, X: Array, t: Array, epochs: int, held: Array | None) -> Self:
        """`epochs` more; held: numbers of the samples to watch instead of learning from them."""
        optimizer = make_optimizer(self.optimizer, **{"lr": self.lr, **(self.optimizer_param or {})})
        if self._optimizer_state is not None and self._optimizer_state[0] == type(optimizer).__name__:
            optimizer.load_state_dict(self._optimizer_state[1])
        x_test, t_test = None, None
        callbacks: list[Callback] = []
        if held is not None:
            kept = np.setdiff1d(np.arange(len(X)), held)
            X, t, x_test, t_test = X[kept], t[kept], X[held], t[held]
            callbacks = [EarlyStopping(self.n_iter_no_change, min_delta=self.tol), KeepBest()]
        trainer = Trainer(
            self.network_,
            X,
            t,
            x_test,
            t_test,
            epochs=epochs,
            mini_batch_size=self.batch_size,
            optimizer=optimizer,
            schedule=self.schedule,
            augment=self.augment,
            seed=self._seed,
            train_accuracy="running",
            prefetch=0 if self.augment is None else 2,
            scale=1.0,
            verbose=bool(self.verbose),
            callbacks=callbacks,
        )
        # Epochs are counted on, so that no two of them shuffle alike.
        trainer.epoch, trainer.epochs = self.n_iter_, self.n_iter_ + trainer.epochs
        history = trainer.train()
        self.n_iter_ = trainer.epoch
        self.loss_curve_ += history.column("train_loss")
        self.validation_loss_curve_ += history.column("test_loss")
        self._optimizer_state = (
            type(optimizer).__name__,
            {name: np.array(asnumpy(a)) for name, a in optimizer.state_dict().items()},
        )
        return self

    def _share_held_out(self) -> float:
        share = self.validation_fraction
        if isinstance(share, bool) or not 0.0 < share < 1.0:
            raise ConfigError(f"validation_fraction is a share of the samples, over 0 and below 1, got {share!r}")
        return float(share)

    def __sklearn_is_fitted__(self) -> bool:
        """Whether an epoch was done: a network whose training failed is none to go by."""
        return getattr(self, "n_iter_", 0) > 0

    # -- using -----------------------------------------------------------------------------------------------------

    def _scores(self, X: Any) -> Array:
        """What the network gives for X, (N, outputs) float32 on the host."""
        check_is_fitted(self)
        X, given = as_rows(X)
        X = validate_data(self, X, dtype=np.float32, order="C", reset=False)
        shape = same_shape(self.input_shape_, given)
        return asnumpy(self.network_.predict(X.reshape(len(X), *shape)))
