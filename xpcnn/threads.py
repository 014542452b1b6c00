"""Threads that each take a piece of a batch while BLAS keeps to one thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

__all__ = ["Crew", "available_cores", "blas_architectures", "blas_can_be_held", "one_blas_thread", "usual_threads"]

R = TypeVar("R")

_lock = threading.Lock()
_holders = 0
_limit: Any = None
_setter: threading.Thread | None = None  # the thread that set the limit
_controller: Any = None


def blas_can_be_held() -> bool:
    """Whether this NumPy's BLAS lets itself be held to one thread (Apple's Accelerate does not)."""
    return any(library.user_api == "blas" for library in _blas().lib_controllers)


def blas_architectures() -> set[str]:
    """Which processors the loaded OpenBLAS libraries have chosen their kernels for, in OpenBLAS's words."""
    words = (getattr(library, "architecture", None) for library in _blas().lib_controllers)
    return {str(word) for word in words if word}  # OpenMP's libraries, and other BLAS, have none


def usual_threads() -> int:
    """One thread a core; one in all where BLAS cannot be kept from starting its own in each."""
    return available_cores() if blas_can_be_held() else 1


def _blas() -> Any:
    global _controller
    if _controller is None:
        try:
            from threadpoolctl import ThreadpoolController
        except ImportError:  # a checkout run with NumPy alone
            _controller = _NoControl()
        else:
            _controller = ThreadpoolController()
    return _controller


class _NoControl:
    """Where threadpoolctl is missing: no BLAS can be held, so networks keep to one thread beside BLAS's own."""

    lib_controllers: tuple[Any, ...] = ()

    def limit(self, **_: Any) -> Any:
        return nullcontext()


def available_cores() -> int:
    """Physical cores that this process may use: its affinity, and a container's quota where it is lower."""
    if hasattr(os, "sched_getaffinity"):
        cores = len({_siblings(cpu) for cpu in os.sched_getaffinity(0)})
    else:
        cores = os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()[:2]
    except (OSError, ValueError):
        return cores  # no such quota on this system
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def _siblings(cpu: int) -> str:
    """The hardware threads that share a core with this one; itself alone where the system does not say."""
    try:
        with open(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") as file:
            return file.read()
    except OSError:
        return str(cpu)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Holds BLAS to one thread while any thread of the process is inside; then the caller's setting is back."""
    global _holders, _limit, _setter
    with _lock:
        if _holders == 0:
            _limit = _blas().limit(limits=1, user_api="blas")
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
        for library in _blas().lib_controllers:
            if hasattr(library, "clear_controlling_thread"):
                library.clear_controlling_thread(force=True)


class Crew:
    """Threads that work beside the caller's; they are made when first needed."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._pool: ThreadPoolExecutor | None = None
        self._process = os.getpid()

    def run(self, jobs: Sequence[Callable[[], R]], ignore: type[BaseException] | None = None) -> list[R]:
        """The results of all jobs, run at once: the first by the caller, the others by the crew.

        All are waited for; then the first error, in the order of `jobs`, is raised. ignore: a kind of error that
        only follows from another one's, and is raised only where there is no other.
        """
        if len(jobs) == 1:
            return [jobs[0]()]
        futures = [self._threads().submit(job) for job in jobs[1:]]
        results: list[R] = []
        errors: list[BaseException] = []
        for wait in (jobs[0], *(future.result for future in futures)):
            try:
                results.append(wait())
            except BaseException as error:
                errors.append(error)
        if errors:
            raise next((e for e in errors if ignore is None or not isinstance(e, ignore)), errors[0])
        return results

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None or self._process != os.getpid():  # a forked child has none of its parent's threads
            self._pool = ThreadPoolExecutor(max(1, self.size), thread_name_prefix="xpcnn")
            self._process = os.getpid()
        return self._pool


def _forget_others() -> None:
    """In a forked child the parent's other threads do not exist, and one of them may have held the lock."""
    global _lock, _holders
    _lock, _holders = threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_others)
