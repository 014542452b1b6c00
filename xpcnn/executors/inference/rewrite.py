"""The graph of a prediction: normalisations folded, activations and sums joined to what they follow, copies left out.

Only the shape of the work is decided here; `packing.py` makes the numbers, anew whenever parameters have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from xpcnn.executors.channels import per_channel
from xpcnn.graph import INPUT, Node
from xpcnn.layers.activation import Relu
from xpcnn.layers.activation_pieces import Clip
from xpcnn.layers.affine import Affine
from xpcnn.layers.base import Layer, Shape
from xpcnn.layers.convolution import Convolution
from xpcnn.layers.dropout import Dropout
from xpcnn.layers.elementwise import Identity
from xpcnn.layers.merge import Add, Concatenate
from xpcnn.layers.normalization import LocalResponseNormalization
from xpcnn.layers.pooling import GlobalAveragePooling, GlobalPooling, Pooling
from xpcnn.layers.rearrange import ChannelShuffle
from xpcnn.layers.shape import Flatten, Reshape, Squeeze, Transpose, Unsqueeze

__all__ = ["Op", "Window", "rewritten"]


@dataclass(frozen=True)
class Window:
    """How a pooling sees its input."""

    size: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]
    average: bool
    count_pad: bool


@dataclass(eq=False)
class Op:
    """One or more layers of the network done as one.

    kind: "conv", "affine", "pool", "lrn", "join" (concatenation), "add", "scale" (per channel, then `relu`), "clip",
    "shuffle", "flatten" (to channels first), or "layer" (by the layer's own code).
    inputs: names of the values it takes; with `residual`, the last one is added to what it has calculated.
    folds: layers that multiply or shift each channel, taken into the weights (or into a "scale"). pooled: a 2x2 max
    pooling at the store. nodes: all that it does.
    """

    kind: str
    nodes: list[Node]
    inputs: tuple[str, ...]
    folds: list[Layer] = field(default_factory=list)
    relu: bool = False
    residual: bool = False
    pooled: bool = False
    window: Window | None = None
    groups: int = 1

    @property
    def layer(self) -> Layer:
        return self.nodes[0].layer

    @property
    def name(self) -> str:
        return self.nodes[-1].name

    @property
    def shape(self) -> Shape:
        return self.nodes[-1].shape


class _Graph:
    """Who takes what, and what stands for what."""

    def __init__(self, nodes: Sequence[Node], input_shape: Shape, pools: Callable[[Op], bool]) -> None:
        self.nodes, self.pools = nodes, pools
        self.shapes: dict[str, Shape] = {INPUT: input_shape, **{node.name: node.shape for node in nodes}}
        self.users: dict[str, list[Node]] = {}
        for node in nodes:
            for name in node.inputs:
                self.users.setdefault(name, []).append(node)
        self.same: dict[str, str] = {}  # values that are others
        self.place = {name: i for i, name in enumerate((INPUT, *(node.name for node in nodes)))}

    def only_user(self, node: Node) -> Node | None:
        takers = self.users.get(node.name, [])
        return takers[0] if len(takers) == 1 else None

    def real(self, name: str) -> str:
        while name in self.same:
            name = self.same[name]
        return name

    def does_nothing(self, node: Node) -> bool:
        layer = node.layer
        if isinstance(layer, Identity) or (isinstance(layer, Dropout) and layer.inverted):
            return True
        unchanged = node.shape == self.shapes[node.inputs[0]]
        return isinstance(layer, Flatten | Reshape | Squeeze | Unsqueeze) and unchanged


def rewritten(nodes: Sequence[Node], input_shape: Shape, pools: Callable[[Op], bool] = lambda _: False) -> list[Op]:
    """The ops in an order in which they can run; the last one gives the network's scores.

    pools: whether a convolution could do a 2x2 max pooling at its store.
    """
    graph = _Graph(nodes, input_shape, pools)
    ops: list[Op] = []
    done: set[str] = set()
    for node in nodes:
        if node.name in done:
            continue
        last = node is nodes[-1]
        if graph.does_nothing(node) and not (last and graph.real(node.inputs[0]) == INPUT):
            graph.same[node.name] = node.inputs[0]
            continue
        op = _begun(graph, node)
        _extend(graph, op)
        done.update(n.name for n in op.nodes)
        ops.append(op)
    for op in ops:
        op.inputs = tuple(graph.real(name) for name in op.inputs)
    return ops


def _begun(graph: _Graph, node: Node) -> Op:
    """The op that the node begins, without what may join it."""
    layer, arriving = node.layer, graph.shapes[node.inputs[0]]
    if isinstance(layer, Convolution):
        return Op("conv", [node], node.inputs)
    if isinstance(layer, Affine):
        return Op("affine", [node], node.inputs)
    flat_or_picture = len(node.shape) in (1, 3)
    if isinstance(layer, Relu) and flat_or_picture:
        return Op("scale", [node], node.inputs, relu=True)
    if isinstance(layer, Clip) and flat_or_picture:
        return Op("clip", [node], node.inputs)
    if flat_or_picture and node.shape == arriving and per_channel(layer, arriving):
        return Op("scale", [node], node.inputs, folds=[layer])
    if window := _window(layer, arriving):
        return Op("pool", [node], node.inputs, window=window)
    if isinstance(layer, LocalResponseNormalization) and layer.beta == 0.75 and len(arriving) == 3:
        return Op("lrn", [node], node.inputs)
    if isinstance(layer, Concatenate) and layer.axis in (1, -len(node.shape)) and flat_or_picture:
        return Op("join", [node], node.inputs)
    if isinstance(layer, Add) and len(node.inputs) == 2 and _alike(graph, node) and flat_or_picture:
        return Op("add", [node], node.inputs)
    if isinstance(layer, ChannelShuffle) and len(node.shape) == 3:
        return Op("shuffle", [node], node.inputs, groups=layer.groups)
    if shuffled := _shuffled(graph, node):
        return shuffled
    if isinstance(layer, Flatten | Reshape | Squeeze) and len(arriving) == 3 and len(node.shape) == 1:
        return Op("flatten", [node], node.inputs)
    return Op("layer", [node], node.inputs)


def _alike(graph: _Graph, node: Node) -> bool:
    return all(graph.shapes[name] == node.shape for name in node.inputs)


def _window(layer: Layer, arriving: Shape) -> Window | None:
    if isinstance(layer, Pooling):
        size = (layer.pool_h, layer.pool_w)
        return Window(size, layer.stride, layer.pad[:2], layer.mode == "average", layer.count_pad)
    whole = isinstance(layer, GlobalAveragePooling) or (isinstance(layer, GlobalPooling) and layer.mode != "lp")
    if not whole or len(arriving) != 3:
        return None
    average = isinstance(layer, GlobalAveragePooling) or getattr(layer, "mode", "") == "average"
    return Window((arriving[1], arriving[2]), (1, 1), (0, 0), average, True)


def _shuffled(graph: _Graph, node: Node) -> Op | None:
    """A channel shuffle as exporters write it: channels reshaped to (groups, rest), exchanged, reshaped back."""
    arriving = graph.shapes[node.inputs[0]]
    swap = graph.only_user(node)
    back = graph.only_user(swap) if swap is not None else None
    if not (isinstance(node.layer, Reshape) and len(arriving) == 3 and len(node.shape) == 4):
        return None
    if swap is None or back is None or not isinstance(swap.layer, Transpose) or not isinstance(back.layer, Reshape):
        return None
    split = node.shape[2:] == arriving[1:] and swap.layer.perm == (0, 2, 1, 3, 4) and back.shape == arriving
    return Op("shuffle", [node, swap, back], node.inputs, groups=node.shape[0]) if split else None


def _extend(graph: _Graph, op: Op) -> None:
    """Lets op take over the layers that follow it, as long as nobody else wants what lies between."""
    while (after := graph.only_user(op.nodes[-1])) is not None and _joins(graph, op, after):
        op.nodes.append(after)


def _joins(graph: _Graph, op: Op, after: Node) -> bool:
    layer = after.layer
    if graph.does_nothing(after):
        return op.kind in ("conv", "affine", "scale", "add")
    if isinstance(layer, Relu) and op.kind in ("conv", "affine", "scale", "add") and not op.pooled:
        op.relu = True
        return True
    if op.relu:
        return _pools(graph, op, after)
    if per_channel(layer, op.shape) and after.shape == op.shape and op.kind in ("conv", "scale") and not op.residual:
        op.folds.append(layer)
        return True
    if isinstance(layer, Add) and len(after.inputs) == 2 and op.kind == "conv" and not op.residual:
        first, second = after.inputs
        other = second if first == op.name else first
        if other == op.name or not _alike(graph, after) or graph.place[other] > graph.place[op.nodes[0].name]:
            return False
        op.inputs, op.residual = (*op.inputs, other), True
        return True
    return _pools(graph, op, after)


def _pools(graph: _Graph, op: Op, after: Node) -> bool:
    layer = after.layer
    if not isinstance(layer, Pooling) or layer.mode != "max" or any(layer.pad):
        return False
    if (layer.pool_h, layer.pool_w) != (2, 2) or layer.stride != (2, 2):
        return False
    if op.kind != "conv" or op.residual or op.pooled:
        return False
    op.pooled = graph.pools(op)
    return op.pooled
