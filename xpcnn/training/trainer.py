"""The training loop: batches in, optimizer steps out, callbacks told (book, sections 6.6 and 7.5)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from xpcnn.communication import Communicator
from xpcnn.data.device_loader import Batches, on_device
from xpcnn.data.loader import Loader
from xpcnn.device import Array, Device, asnumpy
from xpcnn.errors import ConfigError, DataError
from xpcnn.executors.tally import Tally
from xpcnn.network import Network
from xpcnn.optimizers import Optimizer, make_optimizer
from xpcnn.schedules import make_schedule
from xpcnn.training.averaging import Averaging
from xpcnn.training.callbacks.base import Callback
from xpcnn.training.callbacks.nan_guard import NanGuard
from xpcnn.training.callbacks.progress import Progress
from xpcnn.training.checks import check_samples, check_scale
from xpcnn.training.distributed import team_of
from xpcnn.training.fingerprint import fingerprint
from xpcnn.training.history import History
from xpcnn.training.state import put_back, state_of

__all__ = ["Trainer"]

_OPTIMIZER_PARAM = {"lr": 0.01}  # what the book's Trainer uses for SGD where nothing is said


class Trainer:
    """Trains a network by whole passes over its data.

    network: a Network; moved to `device` where one is given. x_train, t_train, x_test, t_test: samples (N, ...) and
    labels, (N,) numbers or (N, K) one-hot, or what else the network's loss takes; without test data no test figures
    are made. Arrays of uint8 are kept so and multiplied by `scale` batch by batch.
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
    distributed: True where mpiexec has started this program several times: all of them together make the batches and
    steps of one process, each with its part of every batch; mini_batch_size is the whole batch's. Every process gives
    the same arguments and whole data; the first alone prints and writes. A Communicator of one's own will do as well.
    sync_batch_norm: whether batch normalisation then takes its statistics over the whole batch, or each its part's.

    Raises ConfigError and DataError for arguments that do not fit, before anything is trained; `train` raises
    DistributedError where processes differ in what they were given.
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
        distributed: bool | Communicator = False,
        sync_batch_norm: bool = True,
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
        self.team = team_of(distributed, sync_batch_norm)
        self.network = self.team.placed(network, device)
        self.averaging = None if average is None else Averaging(self.network, average)
        self.epochs, self.mini_batch_size, self.seed = int(epochs), int(mini_batch_size), int(seed)
        common: dict[str, Any] = {"scale": scale, "dtype": self.network.dtype.name, "batch_size": self.mini_batch_size}
        self.loader = Loader(
            x_train, t_train, seed=seed, augment=augment, prefetch=prefetch, part=self.team.part, **common
        )
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
        self.tally = Tally(self.network.device.xp)  # of the epoch under way
        told = [NanGuard(), *callbacks, *([Progress()] if verbose else [])]
        self.callbacks: list[Callback] = self.team.hearing(told)

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

        Called again it goes on from where it stopped. Raises TrainingError where the loss is no longer finite, and
        DistributedError where several processes differ in what they train.
        """
        self.stop_reason = None
        with self.team.training(self):
            self._tell("on_train_begin")
            try:
                self.team.begins(self)
                while self.epoch < self.epochs and not self.team.stops(self):
                    self._train_epoch()
            finally:
                self._show_averages()
                self._tell("on_train_end")
        return self.history

    def step(self, x: Any, t: Any) -> Array:
        """One optimization step on one batch; returns its loss (0-d, on the device) without waiting for it.

        Where several processes train together, all are given the same batch, or each its part of x and all of t.
        """
        self._hide_averages()
        self.optimizer.lr = self.schedule.lr_at(self.step_count)
        loss = self.team.pass_through(self, x, t)
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
        started, seen_before = time.perf_counter(), self.tally.seen
        batches: Iterator[tuple[Any, Any]] = self._batches.epoch(self.epoch, self.batch)
        try:
            for x, t in batches:
                self.step(x, t)
                self.batch += 1
                self._tell("on_step_end")
                if self.team.stops(self) and self.batch < len(self.loader):
                    return  # in mid-epoch: `train` or a resumed run goes on from this very batch
        finally:
            batches.close()  # type: ignore[attr-defined]  # ends the loader's thread at once
        self.network.device.synchronize()
        seconds = time.perf_counter() - started
        row: dict[str, Any] = {"epoch": self.epoch + 1, "step": self.step_count, "lr": self.optimizer.lr}
        row["train_loss"], row["train_acc"] = self.running()
        self._show_averages()
        if self._train_eval is not None and self._judges:
            row["train_acc"] = self._evaluated(self._train_eval)[1]
        if self._test_eval is not None:
            row["test_loss"], row["test_acc"] = self._evaluated(self._test_eval)
        if not self._judges:
            row = {name: value for name, value in row.items() if name not in ("train_acc", "test_acc")}
        row["seconds"], row["images_per_second"] = seconds, (self.tally.seen - seen_before) / seconds
        self._read_losses()
        self.history.rows.append(row)
        self.epoch += 1
        self.batch = 0
        self.tally = Tally(self.network.device.xp)
        self._tell("on_epoch_end")
        self.team.epoch_ended(self)

    def _evaluated(self, batches: Batches) -> tuple[float, float]:
        """(loss, accuracy) over all batches, of which other processes may take theirs."""
        mine = batches.epoch(0, *self.team.turns(len(batches)))
        return self.network.evaluate_batches(mine, self.team.across)

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
        """(mean loss, accuracy) over the batches of the epoch under way, as they were when trained on.

        The accuracy is NaN where the loss knows no right and wrong; the history has none then.
        """
        loss, accuracy = self.tally.figures()
        return loss, accuracy if self._judges else math.nan

    @property
    def _judges(self) -> bool:
        return self.network.loss_layer.judges(self.network.output_shape)

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
        return state_of(self)

    def load_state(
        self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any], source: object = "a state"
    ) -> None:
        """Puts the trainer and its network where `state` found them. Raises CheckpointError where they do not fit."""
        put_back(self, arrays, values, source)

    def forget_losses(self) -> None:
        """Drops the losses of steps that have not been read back from the device."""
        self._pending.clear()


def _check_numbers(**numbers: Any) -> None:
    for name, n in numbers.items():
        if not hasattr(n, "__index__") or isinstance(n, bool) or n < 1:
            raise ConfigError(f"{name} is a whole number of at least 1, got {n!r}")
