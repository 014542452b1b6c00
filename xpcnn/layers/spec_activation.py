"""Specs and words of the activation layers."""

from __future__ import annotations

from collections.abc import Callable

from xpcnn.errors import ShapeError
from xpcnn.layers.activation_pieces import Clip, HardSigmoid, HardSwish, PRelu, Shrink, ThresholdedRelu
from xpcnn.layers.activation_smooth import Celu, Gelu, Mish, Selu, Silu, Softplus, Softsign
from xpcnn.layers.base import Layer, Shape
from xpcnn.layers.spec import WORDS, Maker, Spec, remembered

__all__ = ["prelu"]


@remembered
def prelu(slope: float = 0.25, shared: bool = False) -> Spec:
    """A PRelu whose slopes start at `slope`: one per channel, or one for all where `shared`."""

    def build(shapes: tuple[Shape, ...], make: Maker) -> Layer:
        shape = shapes[0]
        if not shape:
            raise ShapeError("wanted samples with an axis of channels, got shape ()")
        return PRelu(make.constant((1,) if shared else (shape[0], *(1 for _ in shape[1:])), slope))

    return Spec("prelu", build)


def _plain(word: str, layer: Callable[[], Layer]) -> Callable[[], Spec]:
    return lambda: Spec(word, lambda shapes, make: layer())


_LAYERS: dict[str, Callable[[], Layer]] = {
    "celu": Celu,
    "gelu": Gelu,
    "gelu_tanh": lambda: Gelu(approximate=True),
    "hard_sigmoid": lambda: HardSigmoid(1.0 / 6.0),  # PyTorch's and MobileNet's; ONNX has 0.2
    "hard_swish": HardSwish,
    "mish": Mish,
    "relu6": lambda: Clip(0.0, 6.0),
    "selu": Selu,
    "shrink": Shrink,
    "silu": Silu,
    "softplus": Softplus,
    "softsign": Softsign,
    "thresholded_relu": ThresholdedRelu,
}
WORDS["prelu"] = prelu
WORDS.update({word: _plain(word, layer) for word, layer in _LAYERS.items()})
