"""Small models made at random: where one becomes a Network, it gives for any N what the operators themselves give.

A Program runs the same operators over whole arrays, so it is the judge: of the batch that the model declares, and of
each sample alone where that is 1; other batches must be what the Network gives one by one. At length, by hand:
python -m tests.onnx.test_random_graphs 100000.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from random import Random
from typing import Any

import numpy as np

from tests.onnx.making import model, node
from xpcnn.errors import XpcnnError
from xpcnn.onnx import load
from xpcnn.onnx.network import OnnxNetwork
from xpcnn.onnx.program import Program
from xpcnn.onnx.reading import read_model

_OPS = (
    "unary", "two", "constant", "constant", "reshape", "reshape", "transpose", "reduce", "concat", "matmul", "project",
    "gemm", "window", "flatten", "squeeze", "unsqueeze", "slice", "gather", "expand", "tile", "pad", "softmax", "split",
    "told", "norm", "resize", "spread",
)  # fmt: skip


class Maker:
    """A graph in the making: values by name with the shape that they have for the batch declared."""

    def __init__(self, rng: Random, batch: int | str) -> None:
        self.rng, self.batch = rng, batch
        self.N = 3 if batch == "N" else int(batch)
        self.shape = (self.N, *(rng.choice((1, 1, 2, 2, 3, 4)) for _ in range(rng.choice((1, 2, 3, 3)))))
        self.shapes = {"x": self.shape}
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self.last = "x"

    def name(self) -> str:
        return f"v{len(self.constants) + sum(len(n.output) for n in self.nodes) + self.rng.randrange(10**9)}"

    def whole(self, *values: int) -> str:
        name = self.name()
        self.constants[name] = np.array(values, dtype=np.int64)
        return name

    def floats(self, *shape: int) -> str:
        name = self.name()
        values = [self.rng.choice((0.5, 1.0, 1.5, 2.0, 3.0)) for _ in range(math.prod(shape))]
        self.constants[name] = np.array(values, dtype=np.float32).reshape(shape)
        return name

    def put(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        names = [self.name() for _ in range(outputs)]
        self.nodes.append(node(op, inputs, names, **attributes))
        return names[0]

    def model(self) -> Any:
        return model(self.nodes, {"x": [self.batch, *self.shape[1:]]}, [self.last], self.constants, opset=18)

    def add(self, op: str) -> None:
        """One operator more, if it gives floats of a small shape; else nothing."""
        before, last = len(self.nodes), self.last
        taken = last if self.rng.random() < 0.7 else self.rng.choice(list(self.shapes))
        self.last = getattr(self, op if self.shapes[taken] else "unary")(taken, self.shapes[taken])
        shape = self.found()
        if shape is None:
            del self.nodes[before:]
            self.last = last
        else:
            self.shapes[self.last] = shape

    def found(self) -> tuple[int, ...] | None:
        """The shape of the last value; None where it is none to go on with."""
        proto = model(self.nodes, {"x": list(self.shape)}, [self.last], self.constants, opset=18)
        try:
            y = Program(read_model(proto)).run({"x": np.ones(self.shape, np.float32)})[self.last]
        except XpcnnError:
            return None  # axes and sizes drawn at random need not fit
        return y.shape if y.dtype == np.float32 and 0 < y.size < 2000 else None

    def axis(self, s: tuple[int, ...]) -> int:
        return self.rng.randint(-len(s), len(s) - 1)

    # ---------------------------------------------------------------------------------- each adds nodes for one value
    def unary(self, a: str, s: tuple[int, ...]) -> str:
        return self.put(self.rng.choice(("Relu", "Sigmoid", "Neg", "Identity", "Softplus", "GlobalAveragePool")), a)

    def two(self, a: str, s: tuple[int, ...]) -> str:
        pair = [a, self.rng.choice(list(self.shapes))]
        self.rng.shuffle(pair)
        return self.put(self.rng.choice(("Add", "Sub", "Mul", "Div", "Max", "Mean")), *pair)

    def constant(self, a: str, s: tuple[int, ...]) -> str:
        k = self.rng.randint(0, len(s))
        sizes = [1 if self.rng.random() < 0.4 else n for n in s[len(s) - k :]]
        if sizes and self.rng.random() < 0.1:
            sizes[0] = self.N
        pair = [a, self.floats(*sizes)]
        self.rng.shuffle(pair)
        return self.put(self.rng.choice(("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "PRelu")), *pair)

    def reshape(self, a: str, s: tuple[int, ...]) -> str:
        total = math.prod(s)
        d = self.rng.choice([n for n in range(1, total + 1) if total % n == 0])
        rest = max(1, math.prod(s[1:]))
        e = self.rng.choice([n for n in range(1, rest + 1) if rest % n == 0])
        shapes = ((0, -1), (self.N, -1), (-1, rest), (0, e, -1), (-1, e, rest // e), (self.N, e, rest // e), (1, -1),
                  (d, total // d), (-1, d), (total,), (d, 1, -1), (0, -1, 1))  # fmt: skip
        return self.put("Reshape", a, self.whole(*self.rng.choice(shapes)))

    def transpose(self, a: str, s: tuple[int, ...]) -> str:
        inner = list(range(1, len(s)))
        self.rng.shuffle(inner)
        perm = [0, *inner]
        if self.rng.random() < 0.3:
            self.rng.shuffle(perm)
        return self.put("Transpose", a, perm=perm)

    def reduce(self, a: str, s: tuple[int, ...]) -> str:
        axes = [self.whole(self.axis(s))] if self.rng.random() < 0.9 else []
        op = self.rng.choice(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceL2"))
        return self.put(op, a, *axes, keepdims=self.rng.randint(0, 1))

    def concat(self, a: str, s: tuple[int, ...]) -> str:
        others = [name for name, shape in self.shapes.items() if len(shape) == len(s)]
        other = self.rng.choice(others) if self.rng.random() < 0.7 else self.floats(*s)
        return self.put("Concat", a, other, axis=self.axis(s))

    def matmul(self, a: str, s: tuple[int, ...]) -> str:
        return self.put("MatMul", a, self.rng.choice(list(self.shapes)))

    def project(self, a: str, s: tuple[int, ...]) -> str:
        D, P = s[-1], s[-2] if len(s) > 1 else 1
        if self.rng.random() < 0.6:
            shape = self.rng.choice(((D, 2), (D,), (1, D, 2), (self.N, D, 2), (1, 1, D, 2)))
            return self.put("MatMul", a, self.floats(*shape))
        return self.put("MatMul", self.floats(*self.rng.choice(((2, P), (P,), (1, 2, P), (self.N, 2, P)))), a)

    def gemm(self, a: str, s: tuple[int, ...]) -> str:
        c = self.floats(*self.rng.choice(((2,), (1, 2), (self.N, 2), (1,), ())))
        return self.put("Gemm", a, self.floats(s[-1], 2), c, alpha=self.rng.choice((1.0, 0.5)), beta=2.0)

    def window(self, a: str, s: tuple[int, ...]) -> str:
        n, C = len(s) - 2, s[1] if len(s) > 1 else 1
        op = self.rng.choice(("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool"))
        if op == "Conv":
            return self.put(op, a, self.floats(2, C, *(1,) * n))
        if op == "ConvTranspose":
            return self.put(op, a, self.floats(C, 2, *(2,) * n))
        return self.put(op, a, kernel_shape=[2] * max(1, n), pads=[1, 0] * max(1, n))

    def flatten(self, a: str, s: tuple[int, ...]) -> str:
        return self.put("Flatten", a, axis=self.rng.randint(0, len(s)))

    def squeeze(self, a: str, s: tuple[int, ...]) -> str:
        return self.put("Squeeze", a, *([] if self.rng.random() < 0.2 else [self.whole(self.axis(s))]))

    def unsqueeze(self, a: str, s: tuple[int, ...]) -> str:
        return self.put("Unsqueeze", a, self.whole(self.rng.randint(0, len(s))))

    def slice(self, a: str, s: tuple[int, ...]) -> str:
        starts, ends = self.whole(self.rng.choice((0, 0, 1, -1))), self.whole(self.rng.choice((self.N, 2**62, 1)))
        return self.put("Slice", a, starts, ends, self.whole(self.axis(s)), self.whole(self.rng.choice((1, 1, -1, 2))))

    def gather(self, a: str, s: tuple[int, ...]) -> str:
        places = self.whole(*self.rng.choice(((0,), (0, 0), (-1,))))
        if self.rng.random() < 0.4:
            self.constants[places] = self.constants[places][0]
        return self.put("Gather", a, places, axis=self.axis(s))

    def expand(self, a: str, s: tuple[int, ...]) -> str:
        target = [n if n > 1 else self.rng.choice((1, 2, self.N)) for n in s]
        if self.rng.random() < 0.5:
            target[0] = self.rng.choice((1, self.N))
        return self.put("Expand", a, self.whole(*([1] if self.rng.random() < 0.2 else []), *target))

    def tile(self, a: str, s: tuple[int, ...]) -> str:
        return self.put("Tile", a, self.whole(*(self.rng.choice((1, 1, 2)) for _ in s)))

    def pad(self, a: str, s: tuple[int, ...]) -> str:
        pads = [self.rng.choice((0, 0, 1, -1)) for _ in (*s, *s)]
        if self.rng.random() < 0.8:
            pads[0] = pads[len(s)] = 0
        return self.put("Pad", a, self.whole(*pads), mode=self.rng.choice(("constant", "edge")))

    def softmax(self, a: str, s: tuple[int, ...]) -> str:
        return self.put(self.rng.choice(("Softmax", "LogSoftmax", "Hardmax")), a, axis=self.axis(s))

    def split(self, a: str, s: tuple[int, ...]) -> str:
        axis = self.axis(s)
        k = self.rng.randint(0, s[axis])
        return self.put("Split", a, self.whole(k, s[axis] - k), outputs=2, axis=axis)

    def norm(self, a: str, s: tuple[int, ...]) -> str:
        C = s[1] if len(s) > 1 else 1
        op = self.rng.choice(("LayerNormalization", "InstanceNormalization", "BatchNormalization", "LRN"))
        if op == "LayerNormalization":
            axis = self.axis(s)
            return self.put(op, a, self.floats(*s[axis % len(s) :]), axis=axis)
        if op == "LRN":
            return self.put(op, a, size=3)
        return self.put(op, a, *(self.floats(C) for _ in range(4 if op[0] == "B" else 2)))

    def resize(self, a: str, s: tuple[int, ...]) -> str:
        if self.rng.random() < 0.5:
            scales = self.floats(len(s))
            self.constants[scales] = np.array([self.rng.choice((1, 1, 2)) for _ in s], np.float32)
            return self.put("Resize", a, "", scales, mode=self.rng.choice(("nearest", "linear")))
        sizes = self.whole(*(n * self.rng.choice((1, 1, 2)) for n in s))
        return self.put("Resize", a, "", "", sizes, mode="nearest")

    def spread(self, a: str, s: tuple[int, ...]) -> str:
        """Reshaped or expanded as another value is."""
        told = self.put("Shape", self.rng.choice(list(self.shapes)))
        return self.put(self.rng.choice(("Reshape", "Expand")), a, told)

    def told(self, a: str, s: tuple[int, ...]) -> str:
        """Something with the numbers of its shape."""
        sizes = self.put("Shape", a)
        pick = self.rng.random()
        if pick < 0.3:
            made = self.put("ConstantOfShape", sizes)
            return self.put("Add", a, made)
        if pick < 0.5:
            n = self.put("Gather", sizes, self.whole(0), axis=0)
            return self.put("Reshape", a, self.put("Concat", n, self.whole(-1), axis=0))
        number = self.put("ReduceProd", sizes, keepdims=0)
        if self.rng.random() < 0.6:
            number = self.put("Gather", sizes, self.whole(self.rng.randrange(len(s))), axis=0)
        if self.rng.random() < 0.5:
            number = self.put(self.rng.choice(("Greater", "Equal", "Less")), number, self.whole(self.rng.randint(0, 4)))
        return self.put("Mul", a, self.put("Cast", number, to=1))


def made(number: int) -> Maker:
    rng = Random(number)
    maker = Maker(rng, rng.choice((1, 2, 3, "N", "N")))
    for _ in range(rng.randint(1, 6)):
        maker.add(rng.choice(_OPS))
    return maker


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=2e-3, atol=2e-4, equal_nan=True)  # float32 in another order


def verdict(maker: Maker) -> str:
    """ "program", "network", or what is wrong."""
    proto, out = maker.model(), maker.last
    loaded = load(proto)
    if not isinstance(loaded, OnnxNetwork):
        return "program"
    program, random = Program(read_model(proto)), np.random.default_rng(0)
    for N in (1, 2, 3, 5) if maker.batch == "N" else (maker.N,):
        x = random.standard_normal((N, *maker.shape[1:])).astype(np.float32)
        if not same(loaded.run({"x": x})[out], program.run({"x": x})[out]):
            return f"not the Program's result for N = {N}"
    judge = program if maker.batch == 1 else loaded
    x = random.standard_normal((4, *maker.shape[1:])).astype(np.float32)
    alone = [judge.run({"x": x[i : i + 1]})[out] for i in range(4)]
    if any(len(y) != 1 for y in alone) or not same(loaded.run({"x": x})[out], np.concatenate(alone)):
        return "samples do not stay apart"
    return "network"


def test_networks_do_what_their_operators_do():
    found = {number: verdict(maker) for number in range(250) if (maker := made(number)).last != "x"}
    assert {number: word for number, word in found.items() if word not in ("program", "network")} == {}
    assert list(found.values()).count("network") > 50


if __name__ == "__main__":
    counts: Counter[str] = Counter()
    for number in range(*map(int, sys.argv[1:])):
        if (maker := made(number)).last != "x":
            word = verdict(maker)
            counts[word] += 1
            if word not in ("program", "network"):
                print(number, word, flush=True)
    print(dict(counts))
