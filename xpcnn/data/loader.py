"""Batches of a data set: shuffled each epoch, augmented and prepared ahead, all from a seed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from xpcnn.errors import ConfigError, DataError
from xpcnn.rng import generator

__all__ = ["Loader"]

Array = np.ndarray[Any, Any]
Batch = tuple[Array, Array]
Augment = Callable[[Array, np.random.Generator], Array]

_END = object()


class Loader:
    """Whole passes over (x, t) in batches, each sample once an epoch.

    x: (N, ...) and t: (N, ...), both NumPy arrays; x may stay uint8, it becomes `dtype` a batch at a time.
    scale: factor for integer x, such as 1/255 (None: 1.0); where 1/scale is a whole number, x is divided by it, so
    that 1/255 gives the very bits of `as_float`. Float x is not scaled.
    augment: called as augment(x, rng) -> x' of the same shape and dtype, after scaling.
    prefetch: batches that a thread makes ahead; 0 makes each when asked for, without a thread.
    drop_last: leave out the last batch of an epoch where it is smaller.
    part: where several processes share each batch: called with a batch's number of samples it says which of them are
    this process's. Batches are then (these samples, all labels). Augmentation changes the whole batch first, so that
    each sample is what it would be in a single process.

    A batch is a function of (seed, epoch, its number) alone: starting in mid-epoch or changing `prefetch` changes
    no bit. Raises ConfigError for wrong options, DataError for arrays that do not fit together.
    """

    def __init__(
        self,
        x: Array,
        t: Array,
        batch_size: int = 100,
        *,
        shuffle: bool = True,
        seed: int = 0,
        augment: Augment | None = None,
        prefetch: int = 2,
        drop_last: bool = False,
        scale: float | None = None,
        dtype: str = "float32",
        part: Callable[[int], slice] | None = None,
    ) -> None:
        for name, array in (("x", x), ("t", t)):
            if not isinstance(array, np.ndarray):
                raise DataError(f"{name} is a {type(array).__name__}; a Loader takes NumPy arrays (host memory)")
        if len(x) != len(t) or len(x) == 0:
            raise DataError(f"{len(x)} samples and {len(t)} labels given; they must be as many, and at least one")
        if batch_size < 1 or prefetch < 0:
            raise ConfigError(f"batch_size {batch_size} and prefetch {prefetch} given; at least 1 and 0 are needed")
        if drop_last and batch_size > len(x):
            raise ConfigError(f"with drop_last, batches of {batch_size} leave nothing of {len(x)} samples")
        if np.dtype(dtype).kind != "f":
            raise ConfigError(f"dtype {dtype!r} given; batches are made in a float type such as float32")
        self.x, self.t = x, t
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.augment, self.prefetch, self.drop_last = augment, prefetch, drop_last
        self.scale, self.dtype = scale, np.dtype(dtype)
        self.part = part

    def __len__(self) -> int:
        """Batches an epoch."""
        whole, rest = divmod(len(self.x), self.batch_size)
        return whole + bool(rest and not self.drop_last)

    def epoch(self, epoch: int, start: int = 0, stride: int = 1) -> Iterator[Batch]:
        """Batches `start`, start + stride, ... of an epoch, as (x, t) in new arrays.

        Leaving the iterator early (break, an error, `close()`) ends its thread before going on.
        """
        if epoch < 0 or not 0 <= start <= len(self):
            raise ConfigError(f"epoch {epoch} and start {start} given; epochs begin at 0, start is 0 to {len(self)}")
        return self._ahead(epoch, start, stride) if self.prefetch else self._plain(epoch, start, stride)

    def batch(self, epoch: int, number: int) -> Batch:
        """Batch `number` of an epoch on its own, the same bits that `epoch` yields."""
        if not 0 <= number < len(self):
            raise ConfigError(f"batch {number} asked for; an epoch has batches 0 to {len(self) - 1}")
        return self._make(self.order(epoch), epoch, number)

    @property
    def divisor(self) -> float | None:
        """1/scale where that is a whole number: x is then divided by it. None: x is multiplied by scale."""
        divisor = 1.0 / self.scale if self.scale else 0.5
        return divisor if divisor == round(divisor) else None

    def order(self, epoch: int) -> Array:
        """The samples' numbers in the order in which an epoch takes them."""
        if self.shuffle:
            return generator(self.seed, "shuffle", epoch).permutation(len(self.x))
        return np.arange(len(self.x))

    def _make(self, order: Array, epoch: int, number: int) -> Batch:
        chosen = order[number * self.batch_size : (number + 1) * self.batch_size]
        part = slice(None) if self.part is None else self.part(len(chosen))
        x = self._scaled(np.take(self.x, chosen[part] if self.augment is None else chosen, axis=0))
        if self.augment is not None:
            shape = x.shape
            x = self.augment(x, generator(self.seed, "augment", epoch, number))
            if x.shape != shape or x.dtype != self.dtype:
                raise DataError(f"augment turned {self.dtype} {shape} into {x.dtype} {x.shape}; it must keep both")
            x = x[part]
        return x, np.take(self.t, chosen, axis=0)

    def _scaled(self, x: Array) -> Array:
        if x.dtype.kind == "f" or self.scale is None:
            return x.astype(self.dtype, copy=False)
        if self.divisor is not None:
            return np.divide(x, self.divisor, dtype=self.dtype, casting="unsafe")
        return np.multiply(x, self.scale, dtype=self.dtype, casting="unsafe")

    def _plain(self, epoch: int, start: int, stride: int) -> Iterator[Batch]:
        order = self.order(epoch)
        for number in range(start, len(self), stride):
            yield self._make(order, epoch, number)

    def _ahead(self, epoch: int, start: int, stride: int) -> Iterator[Batch]:
        ready: queue.Queue[Any] = queue.Queue(self.prefetch)
        stop = threading.Event()
        thread = threading.Thread(
            target=_produce, args=(self._plain(epoch, start, stride), ready, stop), name="xpcnn-loader", daemon=True
        )
        thread.start()
        try:
            while (item := ready.get()) is not _END:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stop.set()
            # Emptied once, the queue has room for the one item that may be on its way, so the thread cannot hang.
            while not ready.empty():
                ready.get_nowait()
            thread.join()


def _produce(batches: Iterator[Batch], ready: queue.Queue[Any], stop: threading.Event) -> None:
    """Runs in the thread; holds nothing of the consumer's, so that dropping the consumer ends it."""
    try:
        for item in batches:
            ready.put(item)
            if stop.is_set():
                return
        ready.put(_END)
    except BaseException as error:
        ready.put(error)
