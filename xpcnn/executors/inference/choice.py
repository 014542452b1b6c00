"""Whether a network's predictions go as a whole, or piece by piece through the stages that training uses."""

from __future__ import annotations

import math
from collections.abc import Sequence

from xpcnn.executors.affine_stage import CompiledAffineStage
from xpcnn.executors.compiled_stage import CompiledStage
from xpcnn.executors.inference.runner import WholeNetwork
from xpcnn.executors.replay import sample_work
from xpcnn.executors.stages import LayerStage, Stage
from xpcnn.graph import Node
from xpcnn.layers.base import Shape
from xpcnn.layers.dropout import Dropout
from xpcnn.layers.shape import Flatten
from xpcnn.ops.cpu.compiled import available
from xpcnn.threads import Crew

__all__ = ["whole_network"]

_SMALL = 8  # samples in a piece from which stages keep all that a sample needs in the caches
_SLOW = 50.0  # time of a number that a layer's own code gives, in multiply-adds
_MOST = 0.1  # part of the time in such code up to which one thread may do it alone


def whole_network(
    nodes: Sequence[Node], input_shape: Shape, stages: Sequence[Stage], piece_size: int, crew: Crew
) -> WholeNetwork | None:
    """None where the stages do it: without compiled kernels, and where all is small and none of it is slow.

    piece_size: samples that the stages would take at a time.
    """
    if not any(isinstance(stage, CompiledAffineStage | CompiledStage) for stage in stages) or not available():
        return None
    if piece_size >= _SMALL and all(map(_good, stages)):
        return None
    whole = WholeNetwork(nodes, input_shape, crew)
    slow = sum(math.prod(op.shape) for op in whole.ops if op.kind == "layer")
    return whole if _SLOW * slow <= _MOST * sample_work(stages) else None


def _good(stage: Stage) -> bool:
    """Whether a stage is as fast as can be."""
    if isinstance(stage, LayerStage):
        return isinstance(stage.nodes[0].layer, Dropout | Flatten)
    return isinstance(stage, CompiledAffineStage | CompiledStage)
