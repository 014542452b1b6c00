"""CuPy's universal functions, matmul among them, and the operators of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.fake_cupy import streams
from tests.fake_cupy.array import ndarray, result
from tests.fake_cupy.counts import counts
from tests.fake_cupy.memory import Memory
from tests.fake_cupy.names import lacking, members, names
from tests.fake_cupy.operands import multiplied, operand, refuse


class ufunc:
    """One universal function: NumPy computes it, CuPy's rules bind it (no `where=`, results in C order)."""

    def __init__(self, name: str) -> None:
        self.__name__ = name
        self.name = f"cupy_{name}"
        self._numpy: np.ufunc = getattr(np, name)
        self.nin, self.nout, self.nargs = self._numpy.nin, self._numpy.nout, self._numpy.nargs

    def __repr__(self) -> str:
        return f"<ufunc '{self.name}'>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        out, dtype, casting = (kwargs.pop(k, d) for k, d in (("out", None), ("dtype", None), ("casting", "same_kind")))
        if kwargs:
            raise TypeError(f"Wrong arguments {kwargs}")
        if len(args) not in range(self.nin, self.nargs + 1):
            raise TypeError(f"Wrong number of arguments for {self!r}")
        inputs, outs = list(args[: self.nin]), list(args[self.nin :])
        if out is not None:
            if outs:
                raise ValueError("Cannot specify 'out' as both a positional and keyword argument")
            outs = list(out) if isinstance(out, tuple) else [out]
        for a in outs:
            if not isinstance(a, ndarray):
                raise TypeError(f"Output arguments type must be cupy.ndarray, got {type(a)}")
        host = [operand(a) for a in inputs]
        extra = {} if dtype is None else {"dtype": dtype}
        with np.errstate(all="ignore"):  # the device divides by zero without a word
            if not outs:
                value = self._numpy(*host, casting=casting, **extra)
                sources = [a for a in inputs if isinstance(a, ndarray)]
                many = value if isinstance(value, tuple) else (value,)
                made = [result(self.__name__, v, sources) for v in many]
                return tuple(made) if isinstance(value, tuple) else made[0]
            self._copies(inputs, outs)
            host_outs = [a._a for a in outs]
            if np.broadcast_shapes(*(np.shape(h) for h in (*host, *host_outs))) != outs[0].shape:
                raise ValueError(f"Out shape is mismatched: {outs[0].shape}")
            self._numpy(*host, out=tuple(host_outs), casting=casting, **extra)
        counts.operation(self.__name__)
        streams.touch([a for a in inputs if isinstance(a, ndarray)], outs)
        return outs[0] if self.nout == 1 else tuple(outs)

    def _copies(self, inputs: list[Any], outs: list[ndarray]) -> None:
        """Inputs that overlap an output without being it are copied by CuPy: an allocation nobody asked for."""
        for a in inputs:
            if isinstance(a, ndarray) and any(a is not o and np.may_share_memory(a._a, o._a) for o in outs):
                Memory(a.nbytes)
                counts.operation("copy")

    def reduce(self, array: ndarray, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        if self.__name__ not in ("add", "multiply", "maximum", "minimum", "logical_and", "logical_or"):
            raise NotImplementedError(f"`cupy.{self.__name__}.reduce` is not implemented by the double")
        from tests.fake_cupy.functions import call

        name = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min"}.get(
            self.__name__, {"logical_and": "all", "logical_or": "any"}.get(self.__name__, "")
        )
        more = {} if dtype is None else {"dtype": dtype}
        return call(f"cupy.{name}", (array,), {"axis": axis, "out": out, "keepdims": keepdims, **more})

    __getattr__ = lacking("cupy.ufunc")


class Matmul(ufunc):
    """cupy.matmul: cuBLAS, with the copies that CuPy makes of what cuBLAS cannot read."""

    def __init__(self) -> None:
        super().__init__("matmul")

    def __call__(self, *args: Any, **kwargs: Any) -> ndarray:
        out, dtype, casting = (kwargs.pop(k, d) for k, d in (("out", None), ("dtype", None), ("casting", "same_kind")))
        if kwargs:
            raise NotImplementedError(f"the double's matmul does not take {', '.join(kwargs)}")
        a, b, *rest = args
        out = rest[0] if rest else out
        for x in (a, b):
            if not isinstance(x, ndarray):
                refuse(x)
        if out is not None and not isinstance(out, ndarray):
            raise TypeError(f"Output arguments type must be cupy.ndarray, got {type(out)}")
        common = np.promote_types(a.dtype, b.dtype)
        flat = max(a.ndim, b.ndim) <= 2
        for x in (a, b):
            # Flat products read either order; batched ones only the C order.
            if x.size and (x.dtype != common or not (x.flags.forc if flat else x.flags.c_contiguous)):
                _hidden_copy(x.size * common.itemsize)
        half = common == np.float16  # the device sums halves in float32, and rounds once
        host = [x._a.astype(np.float32) if half else x._a for x in (a, b)]
        with np.errstate(all="ignore"):
            value = np.matmul(*host, casting=casting, **({} if dtype is None else {"dtype": dtype}))
            value = value.astype(np.float16) if half and dtype is None else value
        if out is None:
            made = result("matmul", value, [a, b])
        else:
            if out.shape != value.shape:
                raise ValueError(f"Output array has an invalid size: {out.shape} for {value.shape}")
            if not np.can_cast(value.dtype, out.dtype, casting):
                raise TypeError(f"Cannot cast {value.dtype} to {out.dtype} with casting rule {casting!r}")
            overlaps = any(np.may_share_memory(out._a, x._a) for x in (a, b))
            if out.size and (overlaps or out.dtype != common or not out.flags.c_contiguous):
                _hidden_copy(value.nbytes)
            out._a[...] = value
            made = out
            counts.operation("matmul")
            streams.touch([a, b], [out])
        multiplied()
        return made


def _hidden_copy(nbytes: int) -> None:
    Memory(nbytes)
    counts.operation("copy")


matmul = Matmul()
UFUNCS: dict[str, ufunc] = {"matmul": matmul}
for _name, _about in members("cupy").items():
    if _about.kind == "ufunc" and isinstance(getattr(np, _name, None), np.ufunc):
        UFUNCS.setdefault(_name, ufunc(_name))


def from_numpy(function: np.ufunc, method: str, args: Any, kwargs: Any) -> Any:
    """A NumPy ufunc that was given a device array: CuPy's of that name takes over."""
    if method != "__call__" or f"cupy.{function.__name__}" not in names():
        return NotImplemented
    if any(isinstance(o, np.ndarray) for o in kwargs.get("out", ())):
        refuse(kwargs["out"][0])
    return UFUNCS[function.__name__](*args, **kwargs)


_OPERATORS = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "true_divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "power",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "left_shift",
    "rshift": "right_shift",
    "matmul": "matmul",
}
_COMPARISONS = {
    "lt": "less",
    "le": "less_equal",
    "eq": "equal",
    "ne": "not_equal",
    "gt": "greater",
    "ge": "greater_equal",
}


def _binary(name: str, way: str) -> Any:
    function = UFUNCS[name]
    if way == "reflected":
        return lambda self, other: function(other, self)
    if way == "in place":
        return lambda self, other: function(self, other, out=self)
    return lambda self, other: function(self, other)


for _name, _function in _OPERATORS.items():
    setattr(ndarray, f"__{_name}__", _binary(_function, "plain"))
    setattr(ndarray, f"__r{_name}__", _binary(_function, "reflected"))
    if _name != "matmul":
        setattr(ndarray, f"__i{_name}__", _binary(_function, "in place"))
for _name, _function in _COMPARISONS.items():
    setattr(ndarray, f"__{_name}__", _binary(_function, "plain"))
for _name, _function in {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}.items():
    setattr(ndarray, f"__{_name}__", lambda self, f=UFUNCS[_function]: f(self))
