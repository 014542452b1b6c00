"""The numbers of a prediction: weights with their folds taken in, in the order in which the kernels read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from xpcnn.device import Array
from xpcnn.executors.channels import channel_map
from xpcnn.executors.inference.convolving import by_tiles, is_depthwise, panel_shape, split_bytes, tile_shape
from xpcnn.executors.inference.memory import Layout
from xpcnn.executors.inference.rewrite import Op
from xpcnn.executors.inference.sharing import apart, parts_of_rows
from xpcnn.layers.activation_pieces import Clip
from xpcnn.layers.convolution import Convolution
from xpcnn.ops.cpu.compiled.arrays import NUMBERS_AT, Call
from xpcnn.ops.cpu.compiled.host import Host
from xpcnn.ops.cpu.compiled.inference import winograd
from xpcnn.ops.cpu.compiled.inference.convolution import pack_panels
from xpcnn.ops.cpu.compiled.inference.digest import DIGEST, FACTOR, digest_kernel

__all__ = ["Packed", "digest_calls", "folded", "pack", "spare_bytes", "watched", "words"]

_PIECE = 2**19  # bytes that are digested at a time


@dataclass
class Packed:
    """parameters: all arrays of the layers, to be known again. watched: those that were packed, whose bytes matter.

    copies: those that are compared, and as they were. arrays: of each op its weights and bias, or scale and shift.
    digest: of what is watched, when it was packed.
    """

    parameters: list[Array]
    arrays: dict[Op, tuple[Array, Array]] = field(default_factory=dict)
    watched: list[Array] = field(default_factory=list)
    copies: list[tuple[Array, Array]] = field(default_factory=list)
    digest: Array = field(default_factory=lambda: np.zeros(0, np.uint8))

    def watch(self, a: Array) -> None:
        """Whose bytes lie in one run are digested; others, which are rare, are compared with a copy."""
        run = a if a.flags.c_contiguous else a.T
        if run.flags.c_contiguous and a.dtype == np.float32:
            self.watched.append(run)
        else:
            self.copies.append((a, a.copy()))

    def digested(self, host: Host) -> Array:
        """The digest of what the watched arrays hold now."""
        found = np.zeros(sum(-(-a.nbytes // _PIECE) for a in self.watched) * DIGEST, np.uint8)
        for kernel, arguments in digest_calls(self.watched, found, host):
            kernel(*arguments)
        return found

    def copies_hold(self) -> bool:
        return all(np.array_equal(a, before) for a, before in self.copies)

    def holds(self, host: Host) -> bool:
        """Whether all that was packed is as it was."""
        return self.copies_hold() and self.digested(host).tobytes() == self.digest.tobytes()


def folded(op: Op) -> tuple[Array, Array]:
    """Filters and bias of a convolution, with the op's folds; float32, rounded once."""
    layer = op.layer
    assert isinstance(layer, Convolution)
    W, b = layer.params["W"], layer.params.get("b")
    FN = len(W)
    if not op.folds:
        bias = np.zeros(FN, np.float32) if b is None else b.astype(np.float32)
        return W.astype(np.float32, copy=False), bias
    scale, shift = channel_map(op.folds, FN)
    moved = W * scale.reshape(-1, 1, 1, 1)
    bias = shift if b is None else b * scale + shift
    return moved.astype(np.float32), np.ascontiguousarray(np.broadcast_to(bias, FN), dtype=np.float32)


def digest_calls(arrays: Sequence[Array], target: Array, host: Host) -> list[Call]:
    """Kernels that write the digests of these float32 arrays into `target`, `pieces` of DIGEST bytes."""
    kernel, at, calls = digest_kernel(host), target.ctypes.data, []
    for a in arrays:
        for start in range(0, a.nbytes, _PIECE):
            size = min(_PIECE, a.nbytes - start)
            counts = FACTOR, size // DIGEST, size % DIGEST // 4
            calls.append((kernel, (*counts, a.ctypes.data + start, at, NUMBERS_AT)))
            at += DIGEST
    return calls


def _readable(a: Array) -> Array:
    """What a kernel can read where it is: `a` itself if it can."""
    return np.require(a, np.float32, ["C", "A"])


def watched(op: Op) -> list[Array]:
    """The parameters that `pack` makes something of; what it hands on as it is need not be watched."""
    if op.kind == "affine":
        return [a for a in op.layer.params.values() if _readable(a) is not a]
    if op.kind not in ("conv", "scale"):
        return []
    return [a for node in op.nodes for named in (node.layer.params, node.layer.state) for a in named.values()]


def pack(op: Op, layout: Layout, n: int, host: Host) -> tuple[Array, Array] | None:
    """An op's numbers as its kernels read them; None where it has none."""
    if op.kind == "scale":
        C = op.shape[0]
        scale, shift = channel_map(op.folds, C)
        return scale.astype(np.float32), np.broadcast_to(shift, C).astype(np.float32)
    if op.kind == "affine":
        W, b = op.layer.params["W"], op.layer.params.get("b")
        return _readable(W), np.zeros(W.shape[1], np.float32) if b is None else _readable(b)
    if op.kind == "clip":
        assert isinstance(op.layer, Clip)
        bounds = (-np.inf if op.layer.low is None else op.layer.low, np.inf if op.layer.high is None else op.layer.high)
        low, high = (np.full(op.shape[0], bound, np.float32) for bound in bounds)
        return low, high
    if op.kind != "conv":
        return None
    W, b = folded(op)
    if tiles := tile_shape(op, layout, n, host):
        return winograd.pack_transformed(W, tiles.filters(host)[0]), b
    if is_depthwise(op):
        return np.ascontiguousarray(W[:, 0].transpose(1, 2, 0)), b
    cut, _ = panel_shape(op, layout).filters(host)
    groups = op.layer.groups  # type: ignore[attr-defined]
    return np.ascontiguousarray(np.concatenate([pack_panels(part, cut) for part in np.split(W, groups)])), b


def words(op: Op, layout: Layout, host: Host) -> str:
    """How an op is done, in a few words."""
    how = {"layer": "reference", "affine": "weights read once", "join": "copied side by side"}.get(op.kind, "compiled")
    if op.kind == "conv":
        how = "winograd 4x4" if by_tiles(op) else "each channel by itself" if is_depthwise(op) else "compiled"
    more = [*(["folded"] if op.folds and op.kind == "conv" else []), *(["+ sum"] if op.residual else [])]
    return " ".join([how, *more, *(["+ relu"] if op.relu else []), *(["+ 2x2 max pool"] if op.pooled else [])])


def spare_bytes(op: Op, layout: Layout, n: int, host: Host) -> int:
    """Memory that an op wants for itself while it runs."""
    if op.kind == "affine":
        region, (D, M) = layout.values[op.inputs[0]].region, op.layer.params["W"].shape
        parts = len(parts_of_rows(D, M))
        return 4 * n * ((D if region.H * region.W > 1 else 0) + (apart(M) * parts if parts > 1 else 0))
    return split_bytes(op, layout, n, host)
