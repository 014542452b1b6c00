"""`python -m xpcnn.layers`: the tables of docs/layers.md, as they follow from the code."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Sequence

import numpy as np

from xpcnn import layers
from xpcnn.device import Array
from xpcnn.layers.base import Layer, Shape
from xpcnn.layers.loss import Loss
from xpcnn.layers.spec import WORDS, How, Spec

__all__ = ["EXAMPLES", "FAMILIES", "tables"]

FAMILIES: dict[str, tuple[str, ...]] = {  # headings, and the files of xpcnn/layers below them
    "Products and convolutions": ("affine", "convolution", "convolution_nd", "transposed", "matmul"),
    "Pooling": ("pooling", "pooling_nd", "unpooling"),
    "Activations": ("activation", "activation_pieces", "activation_smooth"),
    "Normalisation and dropout": ("normalization", "normalization_groups", "dropout"),
    "Joining branches, arithmetic, reductions": ("merge", "arithmetic", "broadcast", "reduction"),
    "Shapes": ("shape", "rearrange", "slicing", "resize"),
    "Mathematics of one element": ("elementwise",),
    "Losses": ("loss", "loss_more"),
}
_PICTURES: Shape = (4, 6, 6)
EXAMPLES: tuple[tuple[Spec, Shape], ...] = (  # every function that makes a spec, with a sample's shape for it
    (layers.adaptive_average_pool(4), _PICTURES),
    (layers.affine(10), _PICTURES),
    (layers.average_pool(2), _PICTURES),
    (layers.batch_norm(), _PICTURES),
    (layers.channel_shuffle(2), _PICTURES),
    (layers.conv(32, 3), _PICTURES),
    (layers.conv1d(32, 3), (4, 6)),
    (layers.conv3d(32, 3), (4, 6, 6, 6)),
    (layers.conv_transpose(32, 3), _PICTURES),
    (layers.depthwise_conv(3), _PICTURES),
    (layers.dropout(0.5), _PICTURES),
    (layers.global_max_pool(), _PICTURES),
    (layers.group_norm(2), _PICTURES),
    (layers.instance_norm(), _PICTURES),
    (layers.layer_norm(), _PICTURES),
    (layers.lp_pool(2), _PICTURES),
    (layers.lrn(), _PICTURES),
    (layers.max_pool(2), _PICTURES),
    (layers.pad(1), _PICTURES),
    (layers.pixel_shuffle(2), _PICTURES),
    (layers.prelu(), _PICTURES),
    (layers.reduce("mean"), _PICTURES),
    (layers.reshape(-1, 6), _PICTURES),
    (layers.rms_norm(), _PICTURES),
    (layers.transpose(0, 2, 3, 1), _PICTURES),
    (layers.upsample(2), _PICTURES),
)
_SOURCE = re.compile(r" ?\(((?:[^()]*\b(?:19|20)\d\d\b|book)[^()]*)\)")  # a year, or the book, in brackets


class _Zeros:
    """The Maker of layers that are only looked at."""

    def weight(self, shape: Shape, fan_in: int, fan_out: int, how: How) -> Array:
        return np.zeros(shape)

    def constant(self, shape: Shape, value: float) -> Array:
        return np.full(shape, value)


def _kinds(module: str) -> list[type[Layer] | type[Loss]]:
    """The public layers and losses of a file, in its order."""
    name = f"xpcnn.layers.{module}"
    here = [c for c in vars(sys.modules[name]).values() if isinstance(c, type) and c.__module__ == name]
    public = [c for c in here if getattr(layers, c.__name__, None) is c]
    return [c for c in public if issubclass(c, Layer | Loss) and c is not Loss]


def _ways() -> dict[type, list[str]]:
    """How each layer is written in a network: calls that make a spec, and words."""
    specs = [(repr(spec), spec.build((shape,), _Zeros())) for spec, shape in EXAMPLES]
    specs += [(f'"{word}"', make().build((_PICTURES, _PICTURES), _Zeros())) for word, make in sorted(WORDS.items())]
    ways: dict[type, list[str]] = {}
    for text, layer in specs:
        ways.setdefault(type(layer), []).append(f"`{text}`")
    return ways


def _described(kind: type) -> tuple[str, str]:
    """What a class computes, by the first sentence or sentences of its docstring, and where that comes from."""
    text = inspect.getdoc(kind) or ""
    sources = _SOURCE.findall(text)
    if not sources and len(_kinds(kind.__module__.rpartition(".")[2])) == 1:
        sources = _SOURCE.findall(sys.modules[kind.__module__].__doc__ or "")
    lines = text.split("\n")
    ends = next((i for i, line in enumerate(lines) if line.endswith(".")), len(lines) - 1)
    return _SOURCE.sub("", " ".join(lines[: ends + 1])), "; ".join(sources)


def _row(cells: Sequence[str]) -> str:
    """A row of a table in Markdown; stars mean themselves outside of code."""
    parts = " | ".join(cell.replace("|", r"\|") for cell in cells).split("`")
    parts[::2] = [part.replace("*", r"\*") for part in parts[::2]]
    return f"| {'`'.join(parts)} |"


def tables() -> str:
    """A table in Markdown for each family."""
    ways, lines = _ways(), []
    for heading, modules in FAMILIES.items():
        lines += [f"## {heading}", "", _row(["class", "in a list of layers", "what it computes", "source"])]
        lines.append("|---|---|---|---|")
        for kind in (kind for module in modules for kind in _kinds(module)):
            lines.append(_row([f"`{kind.__name__}`", ", ".join(ways.get(kind, [])), *_described(kind)]))
        lines.append("")
    return "\n".join(lines).strip()


if __name__ == "__main__":
    print(tables())
