"""A launch's arguments, checked against the kernel's parameters; and who runs the launch."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from tests.fake_cupy.array import ndarray
from tests.fake_cupy.layout import is_dense
from tests.fake_cupy.memory import IllegalAccessError, Memory, MemoryPointer

_SCALARS = {bool: np.bool_, int: np.int64, float: np.float64}  # what CuPy makes of Python's


class LaunchError(TypeError):
    """Arguments that do not fit a kernel's parameters. CUDA would not notice, and compute something."""


class KernelError(RuntimeError):
    """A kernel that went wrong while it ran: a failed assertion, a barrier that not all threads reach."""


class Parameter(NamedTuple):
    """One parameter of a kernel: a pointer (`size` None) or a scalar, of elements of that kind and size."""

    pointer: bool
    const: bool
    element: str  # "f4", "i8", "u1", "b1", "v" for void, "x" for a struct
    alignment: int
    size: int

    @classmethod
    def of(cls, word: str) -> Parameter:
        m = re.fullmatch(r"(const)?(\*)?([a-z]\d*)(?:@(\d+))?(?:=(\d+))?", word)
        assert m is not None, word
        return cls(bool(m[2]), bool(m[1]), m[3], int(m[4] or 1), int(m[5] or 8))

    def words(self) -> str:
        names = {"f": "float", "i": "int", "u": "unsigned int", "b": "bool"}
        kind, bits = self.element[0], self.element[1:]
        name = f"{8 * int(bits)}-bit {names[kind]}" if kind in names else {"v": "void", "x": "struct"}[kind]
        return f"{'const ' if self.const else ''}{name}{'*' if self.pointer else ''}"


class Arguments:
    """Values ready for a launch: `values` holds one ctypes or NumPy object for each parameter."""

    def __init__(self) -> None:
        self.values: list[np.ndarray] = []
        self.arrays: list[tuple[int, ndarray | MemoryPointer]] = []  # (position, what it points into)
        self.read: list[ndarray | Memory] = []
        self.written: list[ndarray | Memory] = []

    def addresses(self) -> Any:
        return (ctypes.c_void_p * max(len(self.values), 1))(*(value.ctypes.data for value in self.values))

    def check_guards(self, after: str) -> None:
        touched = [a if isinstance(a, Memory) else a._memory for a in self.read + self.written]
        for memory in dict.fromkeys(touched):
            if not memory.guards_are_whole():
                memory.mend_guards()
                raise IllegalAccessError(f"{after} wrote outside of an array of {memory.size} bytes")


def sizes(size: Sequence[int]) -> tuple[int, int, int]:
    """A grid or a block in three numbers. CuPy takes a 0 for a 1; here a launch of nothing is an error."""
    if not isinstance(size, tuple) or not 1 <= len(size) <= 3:
        raise TypeError(f"Argument has incorrect type (expected tuple of 1 to 3 ints, got {size!r})")
    if any(isinstance(n, (float, np.floating, ndarray)) for n in size):
        raise TypeError(f"grid and block are whole numbers of the host, got {size!r}")
    x, y, z = (*(int(n) for n in size), 1, 1)[:3]
    return x, y, z


def pack(kernel: str, parameters: list[Parameter], args: Sequence[Any]) -> Arguments:
    """The arguments of a launch; raises LaunchError where one does not fit."""
    if not isinstance(args, (tuple, list)):
        raise TypeError(f"the arguments of {kernel} come as a tuple, got {type(args)}")
    if len(args) != len(parameters):
        raise LaunchError(f"{kernel} takes {len(parameters)} arguments, got {len(args)}")
    packed = Arguments()
    for i, (parameter, value) in enumerate(zip(parameters, args, strict=True)):
        where = f"argument {i} of {kernel}, {parameter.words()}"
        if value is None:  # CuPy hands over 0xffffffff for it (cupy issue 9046)
            raise LaunchError(f"{where} is None; a null pointer is the .data of an empty array")
        if isinstance(value, (ndarray, MemoryPointer)):
            packed.values.append(np.array([_address(where, parameter, value)], np.uint64))
            packed.arrays.append((i, value))
            # What lies behind a bare address may be all of its allocation.
            touched = value if isinstance(value, ndarray) else value.mem
            (packed.read if parameter.const else packed.written).append(touched)
        else:
            packed.values.append(_scalar(where, parameter, value))
    return packed


def _address(where: str, parameter: Parameter, value: ndarray | MemoryPointer) -> int:
    if not parameter.pointer:
        raise LaunchError(f"{where}: got an array")
    if isinstance(value, MemoryPointer):
        return value.ptr
    element = {"?": "u1", "b": "b1"}.get(value.dtype.kind, value.dtype.kind + str(value.dtype.itemsize))
    same = {"b1": ("b1", "u1"), "u1": ("u1", "b1")}.get(element, (element,))
    if parameter.element not in ("v", "x", *same):
        raise LaunchError(f"{where}: got an array of {value.dtype}")
    if not is_dense(value._a):
        raise LaunchError(
            f"{where}: got an array of shape {value.shape} and strides {value.strides}, and a kernel sees only its "
            "address; make it contiguous, or give array.data where the kernel knows the strides"
        )
    address = int(value.data.ptr)
    if address % max(parameter.alignment, value.dtype.itemsize):
        raise LaunchError(f"{where}: its address is no multiple of {parameter.alignment}")
    return address


def _scalar(where: str, parameter: Parameter, value: Any) -> np.ndarray:
    if type(value) in _SCALARS:
        value = _SCALARS[type(value)](value)
    if not isinstance(value, np.generic):
        raise TypeError(f"Unsupported type {type(value)} ({where})")
    if parameter.pointer:
        raise LaunchError(f"{where}: got the number {value!r}")
    element = value.dtype.kind.replace("b", "u") + str(value.dtype.itemsize)
    wanted = parameter.element.replace("b", "u")
    # The same bits may be signed or not; another size, or a float for an integer, is another number.
    if parameter.element != "x" and element.replace("i", "u") != wanted.replace("i", "u"):
        raise LaunchError(f"{where}: got {value!r} ({value.dtype}); give it as the NumPy scalar of that type")
    if value.dtype.kind in "iu" and parameter.element[0] in "iu":
        limits = np.iinfo(parameter.element)
        if not limits.min <= int(value) <= limits.max:
            raise LaunchError(f"{where}: {value!r} does not fit")
    if value.dtype.itemsize != parameter.size:
        raise LaunchError(f"{where}: got {value.dtype.itemsize} bytes for a struct of {parameter.size}")
    return np.array([value])


_runner: list[Callable[..., None]] = []
_order = [0]


def set_runner(run: Callable[..., None]) -> None:
    _runner[:] = [run]


def runner() -> Callable[..., None]:
    """What runs a launch: this process, or a program under sanitizers (`sanitize.sanitized()`)."""
    return _runner[-1]


def order() -> int:
    return _order[-1]


@contextmanager
def running_by(run: Callable[..., None]) -> Iterator[None]:
    _runner.append(run)
    try:
        yield
    finally:
        _runner.pop()


@contextmanager
def backwards() -> Iterator[None]:
    """Inside the block, threads and blocks run last to first: a kernel that counts on an order shows it."""
    _order.append(1)
    try:
        yield
    finally:
        _order.pop()
