"""The planner: which layers become one stage, how each stage is done, and where the stages are cut into segments."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from xpcnn.executors.affine_stage import AffineStage, CompiledAffineStage
from xpcnn.executors.channels import per_channel
from xpcnn.executors.compiled_stage import CompiledStage
from xpcnn.executors.compiled_winograd_stage import CompiledWinogradStage
from xpcnn.executors.conv_stage import ConvStage
from xpcnn.executors.grouped_stage import GroupedStage
from xpcnn.executors.norm_stage import NormStage
from xpcnn.executors.patch_stage import PatchStage
from xpcnn.executors.pool_stage import PoolStage
from xpcnn.executors.stages import LayerStage, Stage
from xpcnn.executors.winograd_stage import WinogradStage, winograd_mode
from xpcnn.graph import INPUT, Node
from xpcnn.layers.activation import Relu
from xpcnn.layers.affine import Affine
from xpcnn.layers.arithmetic import WithConstant
from xpcnn.layers.base import Shape
from xpcnn.layers.convolution import Convolution
from xpcnn.layers.normalization import BatchNormalization
from xpcnn.layers.pooling import Pooling
from xpcnn.ops.cpu.winograd import TILE
from xpcnn.rng import stream_number

__all__ = ["Segment", "piece_size", "plan_segments", "plan_stages", "sample_sizes", "winograd_pays"]

PATCH = 64  # numbers in a patch up to which a first layer's pooling windows are convolved from patches
WORKING_SET = 3 * 2**20  # bytes that the busiest stage of a piece may touch: it still lies in the caches
LARGE_MATRIX = 2**16  # bytes of an affine layer's weights from which reading them once a piece costs more than it saves
MOST = 64  # samples in a piece at most
TRANSFORM = 1000  # Winograd: what a channel's or filter's transform of one tile costs, in multiply-adds of a product
COMPILED_TRANSFORM = 190  # the same by compiled kernels
FEW = 4  # Winograd: channels and filters from which it is considered
CLEARLY = 0.85  # Winograd: part of the plain way's time from which it is taken


@dataclass
class Segment:
    """Stages that a piece of `piece_size` samples passes one after another; None: a thread's whole part of the batch.

    inputs: the values that come from earlier segments; outputs: those that later ones, or the loss, want.
    """

    stages: list[Stage]
    piece_size: int | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def plan_stages(nodes: Sequence[Node], input_shape: Shape, compiled: bool = False) -> list[Stage]:
    """The stages of a graph, in its order. Layers are joined only where nobody else takes what lies between them.

    compiled: whether convolutions may be done by compiled kernels (which work in float32 only).
    """
    shapes = {INPUT: input_shape, **{node.name: node.shape for node in nodes}}
    users: dict[str, list[Node]] = {}
    for node in nodes:
        for name in node.inputs:
            users.setdefault(name, []).append(node)

    def only_user(node: Node | None) -> Node | None:
        takers = users.get(node.name, []) if node is not None else []
        return takers[0] if len(takers) == 1 and len(takers[0].inputs) == 1 else None

    stages: list[Stage] = []
    done: set[str] = set()
    for node in nodes:
        if node.name in done:
            continue
        after = only_user(node)
        relu = after if after is not None and isinstance(after.layer, Relu) else None
        stage: Stage = LayerStage(node, stream_number(node.name))
        if isinstance(node.layer, Affine):
            stage = (CompiledAffineStage if compiled else AffineStage)(node, *([relu] if relu else []))
        elif isinstance(node.layer, BatchNormalization):
            stage = NormStage(node, *([relu] if relu else []))
        elif type(node.layer) is Pooling:
            stage = PoolStage(node, stream_number(node.name))
        elif isinstance(node.layer, Convolution):
            after = only_user(relu or node)
            pool = after if after is not None and _is_2x2_max(after) else None
            stage = _conv_stage(node, relu, pool, shapes[node.inputs[0]], compiled)
        stages.append(stage)
        done.update(n.name for n in stage.nodes)
        if isinstance(stage, NormStage) and not stage.relu:
            chain = _constants_behind(node, only_user)
            stages += stage.take_over(chain)
            done.update(n.name for n in chain)
    return stages


def _constants_behind(norm: Node, only_user: Callable[[Node | None], Node | None]) -> list[Node]:
    """Layers that multiply or shift channels behind a normalisation, as exporters write it, and a ReLU behind them."""
    chain: list[Node] = []
    after = only_user(norm)
    while after is not None and isinstance(after.layer, WithConstant) and per_channel(after.layer, norm.shape):
        chain.append(after)
        after = only_user(after)
    return [*chain, after] if chain and after is not None and isinstance(after.layer, Relu) else chain


def _conv_stage(conv: Node, relu: Node | None, pool: Node | None, arriving: Shape, compiled: bool) -> Stage:
    assert isinstance(conv.layer, Convolution)
    if conv.layer.groups > 1 or conv.layer.dilation != (1, 1):
        return GroupedStage(conv, relu, pool)
    if compiled:
        return _compiled_winograd(conv, relu, pool, arriving) or CompiledStage(conv, relu, pool, arriving)
    if winograd_mode() != "never" and _winograd_fits(conv, TRANSFORM):
        return WinogradStage(conv, relu, pool, winograd_mode() == "always")
    kind = PatchStage if pool is not None and _patchable(conv) else ConvStage
    return kind(conv, relu, pool)


def _compiled_winograd(conv: Node, relu: Node | None, pool: Node | None, arriving: Shape) -> Stage | None:
    mode = winograd_mode()
    if mode == "never" or not _winograd_fits(conv, COMPILED_TRANSFORM):
        return None
    FN, C = conv.layer.params["W"].shape[:2]
    _, H, W = arriving
    back = winograd_pays(FN, C, H, W, COMPILED_TRANSFORM)
    return CompiledWinogradStage(conv, relu, pool, arriving, mode == "always", back)


def _winograd_fits(conv: Node, transform: int) -> bool:
    """Whether Winograd's way is possible and pays. Float64 is for those who want every digit."""
    layer = conv.layer
    assert isinstance(layer, Convolution)
    W = layer.params["W"]
    (FN, C, *window), (_, OH, OW) = W.shape, conv.shape
    possible = window == [3, 3] and layer.stride == (1, 1) and W.dtype == np.float32
    return possible and winograd_pays(C, FN, OH, OW, transform)


def winograd_pays(C: int, FN: int, OH: int, OW: int, transform: int) -> bool:
    """Whether 3x3 convolutions by tiles of 4x4 outputs take clearly less time than plain sums, by what was measured.

    Times in multiplications of one output's sum. Plain sums: 9 C FN an output. A tile, of which the last in a row
    or column may be needed in part only: 36 C FN in its products, and `transform` for each channel and filter. Fewer
    channels than FEW leave most of a vector empty in the transforms.
    """
    if min(OH, OW) < TILE or min(C, FN) < FEW:
        return False
    tiles = -(-OH // TILE) * -(-OW // TILE)
    return tiles * (36 * C * FN + transform * (C + FN)) < CLEARLY * 9 * C * FN * OH * OW


def _is_2x2_max(node: Node) -> bool:
    layer = node.layer
    return (
        isinstance(layer, Pooling)
        and layer.mode == "max"
        and (layer.pool_h, layer.pool_w) == layer.stride == (2, 2)
        and not any(layer.pad)
    )


def _patchable(node: Node) -> bool:
    layer = node.layer
    assert isinstance(layer, Convolution)
    _, C, FH, FW = layer.params["W"].shape
    return not node.needs_dx and layer.stride == (1, 1) and (FH + 1) * (FW + 1) * C <= PATCH


def plan_segments(stages: list[Stage], sizes: dict[str, int], item: int) -> list[Segment]:
    """Where the stages are cut for training.

    A stage that couples the samples is a segment of its own. There is a cut before the first large affine layer, and
    behind it pieces are as large as can be. sizes: numbers in one sample's value of each node and of the input;
    item: bytes of a number.
    """
    parts: list[list[Stage]] = [[]]
    large_met = False
    for stage in stages:
        large = isinstance(stage, AffineStage) and stage.layer.params["W"].size * item >= LARGE_MATRIX
        if stage.couples:
            parts += [[stage], []]
        elif large and not large_met:
            parts.append([stage])
        else:
            parts[-1].append(stage)
        large_met = large_met or large
    parts = [part for part in parts if part]
    takers = [name for stage in stages for name in stage.inputs]
    for part in parts:
        _link(part, takers)
    return [_segment(parts, i, sizes, item) for i in range(len(parts))]


def _link(part: list[Stage], takers: list[str]) -> None:
    """Lets compiled stages of one segment write where the next one reads, where that one is the only taker.

    Between segments they must not: the pieces there are others, in other memory.
    """
    here = {stage.name: stage for stage in part}
    for stage in part:
        source = here.get(stage.inputs[0])
        if isinstance(stage, CompiledStage) and isinstance(source, CompiledStage) and takers.count(source.name) == 1:
            stage.link(source)


def _segment(parts: list[list[Stage]], i: int, sizes: dict[str, int], item: int) -> Segment:
    here = {stage.name for stage in parts[i]}
    inputs = {name: None for stage in parts[i] for name in stage.inputs if name not in here}
    later = {name for part in parts[i + 1 :] for stage in part for name in stage.inputs}
    last = parts[-1][-1].name
    outputs = tuple(stage.name for stage in parts[i] if stage.name in later or stage.name == last)
    size = None if parts[i][0].couples else piece_size(parts[i], sizes, item)
    return Segment(parts[i], size, tuple(inputs), outputs)


def piece_size(stages: list[Stage], sizes: dict[str, int], item: int, backward: bool = True) -> int:
    """Samples whose busiest stage touches no more than the working set. backward: whether one will follow."""
    touched = (stage.touched if backward else stage.touched_ahead for stage in stages)
    pairs = zip(touched, stages, strict=True)
    busiest = max(count(sum(sizes[name] for name in stage.inputs), sizes[stage.name]) for count, stage in pairs)
    return max(1, min(MOST, WORKING_SET // (busiest * item)))


def sample_sizes(nodes: Sequence[Node], input_size: int) -> dict[str, int]:
    """Numbers in one sample's value of each node, and of the input."""
    return {INPUT: input_size, **{node.name: math.prod(node.shape) for node in nodes}}
