"""The public names of a CuPy release: read from names.txt; written there from an installed CuPy (no GPU needed).

    python -m venv /tmp/cupy && /tmp/cupy/bin/pip install "cupy-cuda12x==14.*" && /tmp/cupy/bin/python names.py

A line is `full.name kind [signature]`. Kinds: module, ufunc, class, function, constant, and property (of a class).
Signatures hold parameter names only, those that may be left out with "=": `(a, axis=, *, keepdims=)`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple


def words(text: str) -> list[str]:
    """The words of a text: long lists of names as a paragraph."""
    return text.split()


_FILE = Path(__file__).with_name("names.txt")
_MODULES = words(
    """
    cupy cupy.cuda cupy.cuda.compiler cupy.cuda.device cupy.cuda.driver cupy.cuda.memory cupy.cuda.nccl
    cupy.cuda.nvrtc cupy.cuda.pinned_memory cupy.cuda.runtime cupy.cuda.stream cupy.fft cupy.lib cupy.lib.stride_tricks
    cupy.linalg cupy.random cupy.testing cupyx cupyx.profiler cupyx.time
    """
)
_CLASSES = words(
    """
    cupy.ndarray cupy.ufunc cupy.RawKernel cupy.RawModule cupy.cuda.Device cupy.cuda.Event
    cupy.cuda.MemoryPointer cupy.cuda.MemoryPool cupy.cuda.PinnedMemoryPointer cupy.cuda.PinnedMemoryPool
    cupy.cuda.Stream cupy.cuda.nccl.NcclCommunicator cupy.random.Generator cupy.random.RandomState
    """
)


class Name(NamedTuple):
    """One public name: its kind, and the parameters where it can be called and says so."""

    kind: str
    signature: str | None


@functools.cache
def names() -> dict[str, Name]:
    """Every name of the list, with its full dotted path."""
    found = {}
    for line in _FILE.read_text().splitlines():
        if line and not line.startswith("#"):
            full, kind, *signature = line.split(" ", 2)
            found[full] = Name(kind, signature[0] if signature else None)
    return found


@functools.cache
def members(owner: str) -> dict[str, Name]:
    """The names directly below `owner`."""
    start = len(owner) + 1
    return {full[start:]: n for full, n in names().items() if full.startswith(owner + ".") and "." not in full[start:]}


def lacking(owner: str) -> Any:
    """A `__getattr__` for the double of `owner`: what CuPy has there and the double has not says so."""

    def missing(self: Any, name: str) -> Any:
        if name in members(owner):
            raise NotImplementedError(f"{owner}.{name} is in CuPy, but the double does not do it")
        raise AttributeError(f"{owner!r} has no attribute {name!r}")

    return missing


def cupy_version() -> str:
    """The release the list was made from."""
    return re.search(r"CuPy ([\w.]+)", _FILE.read_text().splitlines()[0])[1]


def _parameters(thing: Any) -> str:
    """The parameters in the list's form, or nothing where the thing does not tell them."""
    try:
        text = ", ".join(
            f"{'*' * stars}{p.name}{'' if p.default is p.empty else '='}"
            if (stars := {p.VAR_POSITIONAL: 1, p.VAR_KEYWORD: 2}.get(p.kind, 0)) or p.kind is not p.KEYWORD_ONLY
            else f"!{p.name}{'' if p.default is p.empty else '='}"
            for p in inspect.signature(thing).parameters.values()
        )
    except (TypeError, ValueError):
        # Cython writes a method's signature into the first line of its documentation.
        head = re.match(
            r"[\w.]+\((.*?)\)(?: ->.*)?$", ((getattr(thing, "__doc__", None) or "").splitlines() or [""])[0]
        )
        if head is None:
            return ""
        parts, only = [], False
        for part in filter(None, head[1].split(", ")):
            if part in ("*", "\\*"):
                only = True
                continue
            name, has_default, _ = part.partition("=")
            name = name.split(":")[0].split(" ")[-1] if not name.startswith("*") else name
            parts.append(f"{'!' if only else ''}{name}{has_default}")
            only = only or (part.startswith("*") and not part.startswith("**"))
        text = ", ".join(parts)
    return f" ({text})"


def _kind(thing: Any, of_class: bool) -> str:
    if isinstance(thing, ModuleType):
        return "module"
    if type(thing).__name__ in ("ufunc", "_GUFunc"):
        return "ufunc"
    if isinstance(thing, type):
        return "class"
    if of_class and (isinstance(thing, property) or type(thing).__name__ == "getset_descriptor"):
        return "property"
    return "function" if callable(thing) else "constant"


def _line(owner: str, name: str, thing: Any, of_class: bool = False) -> str:
    kind = _kind(thing, of_class)
    return f"{owner}.{name} {kind}{_parameters(thing) if kind == 'function' else ''}"


def _module(path: str) -> Any:
    """A module by its path; some (cupy.cuda.runtime) are only attributes of their parents."""
    above, _, name = path.rpartition(".")
    parent = _module(above) if above else None
    return getattr(parent, name) if hasattr(parent, name) else importlib.import_module(path)


def write() -> None:
    """Writes names.txt from the CuPy that `import cupy` finds."""
    cupy = importlib.import_module("cupy")
    lines = []
    for path in _MODULES:
        module = _module(path)
        public = sorted(n for n in dir(module) if not n.startswith("_"))
        things = {n: getattr(module, n) for n in public if hasattr(module, n)}
        # Modules that CuPy's own files import (numpy, warnings) are not CuPy's names.
        lines += [
            _line(path, n, thing)
            for n, thing in things.items()
            if not (isinstance(thing, ModuleType) and not thing.__name__.startswith("cupy")) and n != "annotations"
        ]
    for path in _CLASSES:
        module, _, name = path.rpartition(".")
        cls = getattr(_module(module), name)
        lines += [_line(path, n, getattr(cls, n), True) for n in sorted(dir(cls)) if not n.startswith("_")]
    head = f"# The public names of CuPy {cupy.__version__}, written by names.py; a line is: name, kind, parameters."
    _FILE.write_text("\n".join([head, *dict.fromkeys(lines)]) + "\n")


if __name__ == "__main__":
    write()
