"""The least time that a training step can take on a GPU: counted FLOPs and bytes over a card's rates, and launches.

    python benchmarks/roofline.py                         # an H100 as its data sheet has it, see CARDS
    python benchmarks/roofline.py --flops 45e12 --bytes 2.6e12 --launch 3e-6

benchmarks/gpu.py calls this with the rates that it has measured on the card at hand. What is counted is what our CUDA
path does: columns are written and read, bias, ReLU and pooling are one pass, columns are made again on the way back.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

from gpu_nets import NETS, ours

from xpcnn.graph import INPUT, Node
from xpcnn.layers import Affine, Convolution, Pooling, Relu
from xpcnn.network import Network
from xpcnn.ops.cuda.fused import sums_size
from xpcnn.ops.cuda.geometry import Way, choose_way, conv

__all__ = ["CARDS", "Card", "Count", "count_step", "least_seconds"]


@dataclass(frozen=True)
class Card:
    """FLOP/s of float32 products, bytes/s of a copy (read and written), seconds that a launch takes at least."""

    flops: float
    bytes: float
    launch: float


# H100 SXM: 67 TFLOP/s outside tensor cores and 3.35 TB/s by NVIDIA's data sheet, of which 75 and 85 % are taken to be
# attained; CuPy's launches are taken to cost the host 6 microseconds each, the device waits for that.
CARDS = {"H100, assumed": Card(0.75 * 67e12, 0.85 * 3.35e12, 6e-6)}


@dataclass
class Count:
    """Of one training step."""

    flops: float = 0.0
    bytes: float = 0.0
    launches: int = 0

    def add(self, flops: float = 0.0, numbers: float = 0.0, launches: int = 1) -> None:
        self.flops += flops
        self.bytes += 4.0 * numbers  # float32
        self.launches += launches


def least_seconds(count: Count, card: Card) -> dict[str, float]:
    """By what sets the limit, if nothing else did."""
    return {
        "products": count.flops / card.flops,
        "memory": count.bytes / card.bytes,
        "launches": count.launches * card.launch,
    }


def count_step(net: Network, batch: int) -> Count:
    """Forward, backward and Adam for a batch that is gathered on the device."""
    count = Count()
    shapes = {INPUT: net.input_shape, **{name: node.shape for name, node in net.nodes.items()}}
    count.add(numbers=1.25 * batch * math.prod(net.input_shape))  # bytes in, floats out
    before: dict[str, Node] = {}
    pooled = {name for node in net.nodes.values() if isinstance(node.layer, Pooling) for name in node.inputs}
    for node in net.nodes.values():
        taken = batch * sum(math.prod(shapes[name]) for name in node.inputs)
        given = batch * math.prod(node.shape)
        earlier = before.get(node.inputs[0])
        if isinstance(node.layer, Convolution):
            relus = {n.name for n in net.nodes.values() if isinstance(n.layer, Relu) and node.name in n.inputs}
            _convolution(count, node, (batch, *shapes[node.inputs[0]]), taken, given, bool(relus & pooled))
        elif isinstance(node.layer, Affine):
            D, M = node.layer.params["W"].shape
            for needed in (True, True, node.needs_dx):  # y, dW, dx
                count.add(2.0 * batch * D * M * needed, (taken + D * M + given) * needed, int(needed))
            count.add(numbers=5 * given, launches=2 + _second_stage(batch, node))  # bias and ReLU there and back
        elif isinstance(node.layer, Relu) and earlier is not None and earlier.layer.params:
            pass  # done with the layer before it
        elif isinstance(node.layer, Pooling) and earlier is not None and isinstance(earlier.layer, Relu):
            count.add(numbers=2.5 * given, launches=0)  # with the convolution's own passes; the winners are bytes
        else:
            count.add(numbers=2.5 * (taken + given), launches=2)
        before[node.name] = node
    count.add(numbers=3 * batch * net.output_shape[0], launches=2)  # loss and counting
    count.add(numbers=7 * sum(a.size for a in net.params.values()))  # Adam
    return count


def _convolution(count: Count, node: Node, x: tuple[int, ...], taken: float, given: float, pooled: bool) -> None:
    layer = node.layer
    assert isinstance(layer, Convolution)
    W = layer.params["W"]
    c = conv(x, W.shape, layer.stride, layer.pad, layer.dilation, layer.groups)
    flops = 2.0 * W.size * c.N * c.P
    columns = 0 if c.is_pointwise else c.N * c.K * c.P
    if choose_way(c, 4) is Way.IMPLICIT:
        count.add(flops, taken + W.size + given)  # with bias and ReLU
        passes = int(pooled)
    else:
        count.add(numbers=taken + columns)
        count.add(flops, columns + W.size + given)
        passes = 1
    count.add(numbers=2 * given * passes, launches=passes)  # bias, ReLU, pooling
    count.add(numbers=3 * given, launches=1 + _second_stage(c.N, node))  # and back, with the bias's gradient
    count.add(numbers=taken + columns)
    count.add(flops, columns + given + W.size)
    if node.needs_dx:
        count.add(flops, given + W.size + columns)
        count.add(numbers=columns + taken)


def _second_stage(batch: int, node: Node) -> int:
    """Whether a bias's gradient is so large a sum that it takes a second launch."""
    return int(sums_size((batch, *node.shape)) > node.shape[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--flops", type=float, help="FLOP/s of the card's float32 products")
    parser.add_argument("--bytes", type=float, help="bytes/s of its memory, read and written")
    parser.add_argument("--launch", type=float, help="seconds a launch")
    arguments = parser.parse_args()
    (name, assumed), *_ = CARDS.items()
    given = (arguments.flops, arguments.bytes, arguments.launch)
    card = Card(*(g or a for g, a in zip(given, (assumed.flops, assumed.bytes, assumed.launch), strict=True)))
    print(f"{name if not any(given) else 'card as given'}: {card}")
    for key, net in NETS.items():
        for batch in net.batches:
            count = count_step(ours(key, "cpu"), batch)
            times = least_seconds(count, card)
            limits = ", ".join(f"{why} {1e6 * seconds:,.0f} us" for why, seconds in times.items())
            print(
                f"{net.title}, batch {batch}: {count.flops / 1e9:.2f} GFLOP, {count.bytes / 1e6:,.0f} MB, "
                f"{count.launches} launches: {limits}; at least {1e6 * max(times.values()):,.0f} us"
            )


if __name__ == "__main__":
    main()
