"""The training loop: batches in, optimizer steps out, callbacks told (book, sections 6.6 and 7.5)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from xpcnn.data.device_loader import Batches, on_device
from xpcnn.data.loader import Loader
from xpcnn.device import Array, Device, asnumpy, get_device
from xpcnn.errors import CheckpointError, ConfigError, DataError
from xpcnn.executors.tally import Tally
from xpcnn.network import Network
from xpcnn.optimizers import Optimizer, make_optimizer
from xpcnn.schedules import make_schedule
from xpcnn.training.averaging import Averaging
from xpcnn.training.callbacks.base import Callback
from xpcnn.training.callbacks.nan_guard import NanGuard
from xpcnn.training.callbacks.progress import Progress
from xpcnn.training.checks import check_samples, check_scale
from xpcnn.training.fingerprint import fingerprint
from xpcnn.training.history import History

__all__ = ["Trainer"]

_OPTIMIZER_PARAM = {"lr": 0.01}  # what the book's Trainer uses for SGD where nothing is said


class Trainer:
    """Trains a network by whole passes over its data.

    network: a Network; moved to `device` where one is given. x_train, t_train, x_test, t_test: samples (N, ...) and
    labels, (N,) numbers or (N, K) one-hot; without test data no test figures are made. Arrays of uint8 are kept so
    and multiplied by `scale` batch by batch.
    epochs: whole passes. mini_batch_size: samples a step; the last, smaller batch of an epoch counts too.
    optimizer, optimizer_param: a name (any case) and its arguments, or an Optimizer.
    schedule: of the learning rate, such as "cosine" or "step:epochs=5,factor=0.1" (see xpcnn.schedules).
    evaluate_sample_num_per_epoch: evaluates on the first so many samples only (None: on all).
    train_accuracy: "evaluated" after each epoch as in the book, or "running", which averages over the epoch's own
    training batches and costs nothing. augment: see xpcnn.data.augment. seed: of shuffling and augmentation.
    average: decay of a moving average of the parameters, such as 0.999 (see xpcnn.training.averaging). Evaluation then
    uses the averages, and the network holds them after `train`; steps go on from the parameters themselves.
    prefetch: batches made ready ahead by a second thread. verbose: shows progress. callbacks: told of every epoch
    and step; a NanGuard is always among them.

    Raises ConfigError and DataError for arguments that do not fit, before anything is trained.
    """

    def __init__(
        self,
        network: Network,
        x_train: Any,
        t_train: Any,
        x_test: Any = None,
        t_test: Any = None,
        epochs: int = 20,
        mini_batch_size: int = 100,
        optimizer: str | Optimizer = "SGD",
        optimizer_param: Mapping[str, Any] | None = None,
        evaluate_sample_num_per_epoch: int | None = None,
        verbose: bool = True,
        device: str | Device | None = None,
        seed: int = 0,
        callbacks: Sequence[Callback] = (),
        *,
        schedule: str = "constant",
        augment: Any = None,
        scale: float | None = None,
        train_accuracy: str = "evaluated",
        average: float | None = None,
        prefetch: int = 2,
    ) -> None:
        _check_numbers(epochs=epochs, mini_batch_size=mini_batch_size)
        if evaluate_sample_num_per_epoch is not None:
            _check_numbers(evaluate_sample_num_per_epoch=evaluate_sample_num_per_epoch)
        if train_accuracy not in ("evaluated", "running"):
            raise ConfigError(f'train_accuracy is "evaluated" or "running", got {train_accuracy!r}')
        if (x_test is None) != (t_test is None):
            raise DataError("x_test and t_test go together: give both or neither")
        check_samples("train", x_train, t_train, network)
        if x_test is not None:
            check_samples("test", x_test, t_test, network)
        check_scale({"x_train": x_train, "x_test": x_test}, scale)
        self.network = network if device is None else network.to(get_device(device))
        self.averaging = None if average is None else Averaging(self.network, average)
        self.epochs, self.mini_batch_size, self.seed = int(epochs), int(mini_batch_size), int(seed)
        common: dict[str, Any] = {"scale": scale, "dtype": self.network.dtype.name, "batch_size": self.mini_batch_size}
        self.loader = Loader(x_train, t_train, seed=seed, augment=augment, prefetch=prefetch, **common)
        self._data = {"training": (x_train, t_train)}
        first = slice(evaluate_sample_num_per_epoch)
        self._batches = on_device(self.loader, self.network.device)
        self._train_eval: Batches | None = None
        if train_accuracy == "evaluated":
            evaluated = Loader(x_train[first], t_train[first], shuffle=False, prefetch=0, **common)
            self._train_eval = on_device(evaluated, self.network.device)
        self._test_eval: Batches | None = None
        if x_test is not None:
            evaluated = Loader(x_test[first], t_test[first], shuffle=False, prefetch=0, **common)
            self._test_eval = on_device(evaluated, self.network.device)
            self._data["test"] = (evaluated.x, evaluated.t)
        if isinstance(optimizer, Optimizer):
            self.optimizer = optimizer
        else:
            param = _OPTIMIZER_PARAM if optimizer_param is None else optimizer_param
            self.optimizer = make_optimizer(optimizer, **param)
        steps_per_epoch = len(self.loader)
        self.schedule = make_schedule(schedule, self.optimizer.lr, steps_per_epoch * self.epochs, steps_per_epoch)
        self.history = History()
        self.epoch = 0  # finished epochs
        self.batch = 0  # finished batches of the epoch under way
        self.step_count = 0  # optimizer steps of the whole run
        self.stop_reason: str | None = None  # set it from a callback or a signal handler to end after this step
        self._pending: list[Array] = []  # losses not yet read back from the device
        self._tally = Tally(self.network.device.xp)  # of the epoch under way
        self.callbacks: list[Callback] = [NanGuard(), *callbacks, *([Progress()] if verbose else [])]

    # -- the book's lists ------------------------------------------------------------------------------------------

    @property
    def train_loss_list(self) -> list[float]:
        """Loss of every step so far."""
        self._read_losses()
        return self.history.step_losses

    @property
    def train_acc_list(self) -> list[float]:
        """Training accuracy after each epoch, 0..1."""
        return self.history.column("train_acc")

    @property
    def test_acc_list(self) -> list[float]:
        """Test accuracy after each epoch, 0..1."""
        return self.history.column("test_acc")

    # -- training --------------------------------------------------------------------------------------------------

    def train(self) -> History:
        """Trains until `epochs` are done or something sets `stop_reason`; returns the history.

        Called again it goes on from where it stopped. Raises TrainingError where the loss is no longer finite.
        """
        self.stop_reason = None
        self._tell("on_train_begin")
        try:
            while self.epoch < self.epochs and self.stop_reason is None:
                self._train_epoch()
        finally:
            self._show_averages()
            self._tell("on_train_end")
        return self.history

    def step(self, x: Any, t: Any) -> Array:
        """One optimization step on one batch; returns its loss (0-d, on the device) without waiting for it."""
        self._hide_averages()
        self.optimizer.lr = self.schedule.lr_at(self.step_count)
        loss, _ = self.network.train_pass(x, t, self._tally)
        for callback in self.callbacks:
            callback.on_pass_end(self, x, t, loss)
        self.optimizer.update(self.network.params, self.network.grads)
        self.step_count += 1
        if self.averaging is not None:
            self.averaging.follow(self.step_count)
        self._pending.append(loss)
        return loss

    def _train_epoch(self) -> None:
        self._tell("on_epoch_begin")
        started, seen_before = time.perf_counter(), self._tally.seen
        batches: Iterator[tuple[Any, Any]] = self._batches.epoch(self.epoch, self.batch)
        try:
            for x, t in batches:
                self.step(x, t)
                self.batch += 1
                self._tell("on_step_end")
                if self.stop_reason is not None and self.batch < len(self.loader):
                    return  # in mid-epoch: `train` or a resumed run goes on from this very batch
        finally:
            batches.close()  # type: ignore[attr-defined]  # ends the loader's thread at once
        self.network.device.synchronize()
        seconds = time.perf_counter() - started
        row: dict[str, Any] = {"epoch": self.epoch + 1, "step": self.step_count, "lr": self.optimizer.lr}
        row["train_loss"], row["train_acc"] = self.running()
        self._show_averages()
        if self._train_eval is not None:
            row["train_acc"] = self.network.evaluate_batches(self._train_eval.epoch(0))[1]
        if self._test_eval is not None:
            row["test_loss"], row["test_acc"] = self.network.evaluate_batches(self._test_eval.epoch(0))
        row["seconds"], row["images_per_second"] = seconds, (self._tally.seen - seen_before) / seconds
        self._read_losses()
        self.history.rows.append(row)
        self.epoch += 1
        self.batch = 0
        self._tally = Tally(self.network.device.xp)
        self._tell("on_epoch_end")

    def _show_averages(self) -> None:
        if self.averaging is not None:
            self.averaging.show()

    def _hide_averages(self) -> None:
        if self.averaging is not None:
            self.averaging.hide()

    def _tell(self, event: str) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self)

    # -- figures of the epoch under way ----------------------------------------------------------------------------

    def running(self) -> tuple[float, float]:
        """(mean loss, accuracy) over the batches of the epoch under way, as they were when trained on."""
        return self._tally.figures()

    def _read_losses(self) -> None:
        if self._pending:
            xp = self.network.device.xp
            self.history.step_losses += [float(v) for v in asnumpy(xp.stack(self._pending))]
            self._pending.clear()

    # -- all that a resumed run needs ------------------------------------------------------------------------------

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """A word for the training data and one for the test data, as they were when first asked for."""
        return {part: fingerprint(x, t) for part, (x, t) in self._data.items()}

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, JSON-ready values) from which `load_state` continues to the same bits; all of it copies."""
        self._read_losses()
        if self.averaging is None:
            arrays = {f"network/{name}": np.array(asnumpy(a)) for name, a in self.network.arrays().items()}
        else:
            network, averages = self.averaging.state()
            arrays = {f"network/{name}": a for name, a in network.items()}
            arrays.update({f"average/{name}": a for name, a in averages.items()})
        arrays.update({f"optimizer/{name}": asnumpy(a) for name, a in self.optimizer.state_dict().items()})
        arrays.update({f"scaling/{name}": asnumpy(a) for name, a in self._scaling().items()})
        arrays["history/step_losses"] = np.array(self.history.step_losses, dtype=np.float64)
        values = {
            "epoch": self.epoch,
            "batch": self.batch,
            "step_count": self.step_count,
            "network_step": self.network.step,
            "network_seed": self.network.seed,
            **self._tally.values(),
            "history": [dict(row) for row in self.history.rows],
            "callbacks": {name: state for name, c in self._named_callbacks() if (state := c.state())},
        }
        return arrays, values

    def load_state(
        self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any], source: object = "a state"
    ) -> None:
        """Puts the trainer and its network where `state` found them. Raises CheckpointError where they do not fit."""
        averages = _group(arrays, "average/")
        if self.averaging is not None:
            self.averaging.load(averages, source)
        elif averages:
            raise CheckpointError(f"{source} holds averages of the parameters; go on with the same `average`")
        self.network.load_arrays(_group(arrays, "network/"), source)
        held = {name: self.network.device.asarray(a) for name, a in _group(arrays, "optimizer/").items()}
        self.optimizer.load_state_dict(held)
        scaling = self._scaling()
        for name, a in _group(arrays, "scaling/").items():
            if name in scaling:
                scaling[name][...] = self.network.device.asarray(a)
        self.epoch, self.batch = values["epoch"], values["batch"]
        self.step_count, self.network.step = values["step_count"], values["network_step"]
        self.network.use_seed(values["network_seed"])
        sums = {name: values[name] for name in ("loss_sum", "right", "seen")}
        self._tally = Tally(self.network.device.xp, **sums)
        self._pending.clear()
        self.history.rows[:] = [dict(row) for row in values["history"]]
        self.history.step_losses[:] = arrays["history/step_losses"].tolist()
        if self.step_count:  # an epoch that has no step left reports the rate of its last one
            self.optimizer.lr = self.schedule.lr_at(self.step_count - 1)
        for name, callback in self._named_callbacks():
            callback.load_state(values["callbacks"].get(name, {}))

    def _scaling(self) -> dict[str, Array]:
        """The state of the loss's scale, where there is one (float16)."""
        flat = self.network.params.flat
        return {} if flat is None else flat.extra()

    def _named_callbacks(self) -> list[tuple[str, Callback]]:
        """Each callback with the name of its class, and a number from the second of a class on."""
        counts: dict[str, int] = {}
        named = []
        for callback in self.callbacks:
            kind = type(callback).__name__
            counts[kind] = counts.get(kind, 0) + 1
            named.append((kind if counts[kind] == 1 else f"{kind} {counts[kind]}", callback))
        return named


def _group(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name[len(prefix) :]: a for name, a in arrays.items() if name.startswith(prefix)}


def _check_numbers(**numbers: Any) -> None:
    for name, n in numbers.items():
        if not hasattr(n, "__index__") or isinstance(n, bool) or n < 1:
            raise ConfigError(f"{name} is a whole number of at least 1, got {n!r}")
