"""CuPy's functions of arrays: NumPy computes, CuPy's own parameters and refusals bind."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import numpy as np

from tests.fake_cupy import streams
from tests.fake_cupy.array import ndarray
from tests.fake_cupy.counts import counts
from tests.fake_cupy.names import names, words
from tests.fake_cupy.operands import arrays_in, device_side, host_side, multiplied

# Those whose results are as NumPy's, given CuPy's parameters.
COMPUTED = words(
    """
    all amax amin any append argmax argmin argsort array_equal array_split atleast_1d atleast_2d atleast_3d
    average bincount broadcast_arrays broadcast_to choose clip column_stack concatenate convolve corrcoef
    count_nonzero cov cross cumprod cumsum diag diagflat diagonal diff dot dsplit dstack einsum expand_dims fix
    flip fliplr flipud histogram hsplit hstack inner interp isclose isin kron lexsort max mean median meshgrid
    min moveaxis nan_to_num nanargmax nanargmin nancumsum nanmax nanmean nanmin nanprod nanstd nansum nanvar
    outer pad percentile prod ptp quantile ravel repeat reshape roll rollaxis rot90 round searchsorted sort
    split squeeze stack std sum swapaxes take take_along_axis tensordot tile trace transpose tri tril triu
    unravel_index var vdot vsplit vstack where allclose cbrt
    """
)
# Those whose results' shapes depend on values: the host waits for them.
WAITING = ["argwhere", "compress", "extract", "flatnonzero", "nonzero", "unique"]
# Those that tell of arrays and compute nothing.
TELLING = words(
    """
    can_cast common_type isscalar may_share_memory min_scalar_type ndim promote_types result_type shape
    shares_memory size broadcast_shapes iscomplexobj isrealobj
    """
)
MULTIPLYING = {"dot", "inner", "outer", "vdot", "tensordot", "einsum", "kron"}


@functools.cache
def signature(full: str) -> inspect.Signature | None:
    """CuPy's parameters of a function, or None where the list does not know them."""
    text = names()[full].signature
    if text is None:
        return None
    parameters, P = [], inspect.Parameter
    for word in filter(None, text[1:-1].split(", ")):
        name = word.strip("*!=")
        kind = P.KEYWORD_ONLY if word.startswith("!") else P.POSITIONAL_OR_KEYWORD
        if word.startswith("*"):
            kind = P.VAR_KEYWORD if word.startswith("**") else P.VAR_POSITIONAL
        parameters.append(P(name, kind, default=None if word.endswith("=") else P.empty))
    return inspect.Signature(parameters)


def bind(full: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raises TypeError where CuPy's function does not take these arguments."""
    takes = signature(full)
    if takes is not None:
        try:
            takes.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{full}() {error}") from None


def call(full: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One of CuPy's functions on device arrays."""
    name = full.rpartition(".")[2]
    bind(full, args, kwargs)
    sources = arrays_in(*args, *kwargs.values())
    if not sources and name in COMPUTED + WAITING:
        # CuPy computes these on the host where it is given the host's arrays: always a fault in our code.
        arguments = ", ".join(str(type(a)) for a in args)
        raise TypeError(f"Unsupported type: {full} of no device array ({arguments})")
    out = kwargs.get("out")
    if out is not None and not isinstance(out, ndarray):
        raise TypeError(f"Output arguments type must be cupy.ndarray, got {type(out)}")
    if name in WAITING or (name == "where" and len(args) == 1):
        streams.wait(name)
    numpy_function = getattr(np.linalg, name) if full.startswith("cupy.linalg.") else getattr(np, name)
    with np.errstate(all="ignore"):
        value = numpy_function(*(host_side(a) for a in args), **{k: host_side(v) for k, v in kwargs.items()})
    if name in MULTIPLYING:
        multiplied()
    if out is not None:
        counts.operation(name)
        streams.touch([s for s in sources if s is not out], [out])
        return out
    return device_side(name, value, sources)


def tell(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One of the functions that compute nothing."""
    return getattr(np, name)(*(_plain(a) for a in args), **kwargs)


def _plain(value: Any) -> Any:
    return value._a if isinstance(value, ndarray) else value


def copyto(dst: ndarray, src: Any, casting: str = "same_kind", where: Any = None) -> None:
    """cupy.copyto: into a device array, from one or from a number."""
    from tests.fake_cupy.operands import operand

    if not isinstance(dst, ndarray):
        raise TypeError(f"Unsupported type {type(dst)}")
    more = {} if where is None else {"where": operand(where)}
    np.copyto(dst._a, operand(src), casting=casting, **more)
    counts.operation("copyto")
    streams.touch(arrays_in(src, where), [dst])


def from_numpy(function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """A NumPy function that was given a device array: CuPy's of that name takes over."""
    if any(t not in (ndarray, np.ndarray) for t in types):
        return NotImplemented
    path = function.__module__.replace("numpy", "cupy", 1) + "." + function.__name__
    if path not in names():
        return NotImplemented
    import sys

    module, _, name = path.rpartition(".")
    return getattr(sys.modules[module], name)(*args, **kwargs)


# ----------------------------------------------------------------------------------------------- methods of arrays
_METHODS = words(
    """
    all any argmax argmin argsort choose clip compress cumprod cumsum diagonal dot max mean min prod ptp ravel
    repeat round searchsorted squeeze std sum swapaxes take trace var nonzero
    """
)


def _method(name: str) -> Any:
    def method(self: ndarray, *args: Any, **kwargs: Any) -> Any:
        bind(f"cupy.ndarray.{name}", (self, *args), kwargs)
        sources = arrays_in(self, *args, *kwargs.values())
        if name in WAITING:
            streams.wait(name)
        if name == "dot":
            multiplied()
        out = kwargs.get("out")
        with np.errstate(all="ignore"):
            value = getattr(self._a, name)(*map(host_side, args), **{k: host_side(v) for k, v in kwargs.items()})
        if out is not None:
            counts.operation(name)
            streams.touch([s for s in sources if s is not out], [out])
            return out
        return device_side(name, value, sources)

    method.__name__ = name
    return method


for _name in _METHODS:
    setattr(ndarray, _name, _method(_name))


def _reshape(self: ndarray, *shape: Any, order: str = "C", copy: bool | None = None) -> ndarray:
    shape = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    return device_side(
        "reshape", self._a.reshape(shape, order=order, **({} if copy is None else {"copy": copy})), [self]
    )


def _transpose(self: ndarray, *axes: Any) -> ndarray:
    return device_side("transpose", self._a.transpose(*axes), [self])


def _flatten(self: ndarray, order: str = "C") -> ndarray:
    from tests.fake_cupy.array import result

    return result("flatten", self._a.flatten(order), [self])


def _sort(self: ndarray, axis: int = -1) -> None:
    self._a.sort(axis)
    counts.operation("sort")
    streams.touch([self], [self])


ndarray.reshape, ndarray.transpose, ndarray.flatten, ndarray.sort = _reshape, _transpose, _flatten, _sort
