"""Which layers of a graph become one stage of the CUDA path."""

from __future__ import annotations

from collections.abc import Sequence

from xpcnn.executors.cuda_elementwise import DropoutStage, LrnStage, NormStage, PoolStage, ReluStage
from xpcnn.executors.cuda_products import AffineStage, ConvStage
from xpcnn.executors.cuda_stage import CudaStage, LayerStage
from xpcnn.graph import Node
from xpcnn.layers.activation import Relu
from xpcnn.layers.affine import Affine
from xpcnn.layers.convolution import Convolution
from xpcnn.layers.dropout import Dropout
from xpcnn.layers.normalization import BatchNormalization, LocalResponseNormalization
from xpcnn.layers.pooling import Pooling

__all__ = ["plan_cuda"]

_MOST_IN_WINDOW = 256  # elements, so that a winner's place fits into a byte


def plan_cuda(nodes: Sequence[Node]) -> list[CudaStage]:
    """The stages in the graph's order. Layers are joined only where nobody else takes what lies between them."""
    users: dict[str, list[Node]] = {}
    for node in nodes:
        for name in node.inputs:
            users.setdefault(name, []).append(node)
    places: dict[int, int] = {}
    for node in nodes:
        places[id(node.layer)] = places.get(id(node.layer), 0) + 1

    def next_alone(node: Node | None, kind: type) -> Node | None:
        takers = users.get(node.name, []) if node is not None else []
        fits = len(takers) == 1 and len(takers[0].inputs) == 1 and isinstance(takers[0].layer, kind)
        return takers[0] if fits else None

    stages: list[CudaStage] = []
    done: set[str] = set()
    for node in nodes:
        if node.name in done:
            continue
        relu, layer = next_alone(node, Relu), node.layer
        stage: CudaStage = LayerStage(node)
        if layer.params and places[id(layer)] > 1:
            pass  # its gradients are added up, which only the plain stage does
        elif isinstance(layer, Convolution):
            stage = ConvStage(node, relu, _fusible(next_alone(relu, Pooling)))
        elif isinstance(layer, Affine):
            stage = AffineStage(node, relu)
        elif isinstance(layer, BatchNormalization) and len(node.shape) in (1, 3):
            stage = NormStage(node, relu)
        elif isinstance(layer, Pooling):
            stage = PoolStage(node)
        elif isinstance(layer, LocalResponseNormalization) and len(node.shape) == 3:
            stage = LrnStage(node)
        elif isinstance(layer, Dropout):
            stage = DropoutStage(node)
        elif isinstance(layer, Relu):
            stage = ReluStage(node)
        stages.append(stage)
        done.update(n.name for n in stage.nodes)
    return stages


def _fusible(pool: Node | None) -> Node | None:
    layer = None if pool is None else pool.layer
    small = isinstance(layer, Pooling) and layer.mode == "max" and layer.pool_h * layer.pool_w <= _MOST_IN_WINDOW
    return pool if small else None
