"""Threads that each take a piece of a batch while BLAS keeps to one thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["available_cores", "one_blas_thread", "run_together"]

R = TypeVar("R")

_lock = threading.Lock()
_holders = 0
_limit: Any = None
_setter: threading.Thread | None = None  # the thread that set the limit
_controller: Any = None
_pool: ThreadPoolExecutor | None = None


def available_cores() -> int:
    """Cores that this process may use: its affinity, and a container's quota where it is lower."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()[:2]
    except (OSError, ValueError):
        return cores  # no such quota on this system
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Holds BLAS to one thread while any thread of the process is inside; then the caller's setting is back."""
    global _holders, _limit, _setter, _controller
    with _lock:
        if _holders == 0:
            if _controller is None:
                from threadpoolctl import ThreadpoolController

                _controller = ThreadpoolController()
            _limit = _controller.limit(limits=1, user_api="blas")
            _limit.__enter__()
            _setter = threading.current_thread()
        _holders += 1
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if _holders == 0:
                _take_over_control()
                _limit.__exit__(None, None, None)


def _take_over_control() -> None:
    """Lets this thread restore what another one set: threadpoolctl >= 3.7 heeds only the thread that set it."""
    if _setter is not threading.current_thread():
        for library in _controller.lib_controllers:
            if hasattr(library, "clear_controlling_thread"):
                library.clear_controlling_thread(force=True)


def run_together(jobs: Sequence[Callable[[], R]]) -> list[R]:
    """The results of all jobs, run at once: the first in the calling thread, the others in a pool's.

    Where one raises, the others are waited for and the first one's error, in the order of `jobs`, is raised.
    """
    if len(jobs) == 1:
        return [jobs[0]()]
    pool = _shared_pool()
    futures = [pool.submit(job) for job in jobs[1:]]
    try:
        first = jobs[0]()
    finally:
        for future in futures:
            future.exception()  # waits
    return [first, *(future.result() for future in futures)]


def _shared_pool() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(max(1, (os.cpu_count() or 1) - 1), thread_name_prefix="xpcnn")
        return _pool


def _forget_pool() -> None:
    """In a forked child the parent's threads do not exist, and its lock may be held by one of them."""
    global _lock, _pool, _holders
    _lock, _pool, _holders = threading.Lock(), None, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
