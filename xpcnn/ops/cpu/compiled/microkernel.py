"""The one inner loop of all convolution kernels: a block of sums that never leaves the vector registers.

    acc[i][q] += scalar[i] * vector[q]            i = 0 .. P-1, q = 0 .. Q-1, at every step

With AVX-512 (16 floats a register, 32 registers), P = 14, Q = 2, in one step:

                        vector[0]       vector[1]            zmm28, zmm29: loaded, Q a step
                       f0 ...... f15   f16 ..... f31
      scalar[0]   -> [  acc[0][0]   ][  acc[0][1]   ]        zmm0,  zmm1
      scalar[1]   -> [  acc[1][0]   ][  acc[1][1]   ]        zmm2,  zmm3      P*Q fused multiply-adds a step
         ...               ...             ...
      scalar[13]  -> [  acc[13][0]  ][  acc[13][1]  ]        zmm26, zmm27
          |
        zmm30: one float in every lane, P loads a step (with Q = 1 the multiply-add itself reads and spreads it)

What scalar and vector are:

    kernel    block of sums                scalar[i]                       vector[q]              one step
    forward   P output pixels, Q*16        x under pixel i's window        w[fh, fw, c, f..]      one (fh, fw, c)
              filters                      at (fh, fw, c)
    grad_w    P weight rows (fh, fw, c),   x under row i at the pixel      g[n, oh, ow, f..]      one pixel
              Q*16 filters
    grad_x    as forward, on the padded gradient and the flipped weights (of one phase of the stride)

In NHWC the floats of one window row, (fw, c), lie side by side, so a step moves both pointers by constants, and
every scalar has a constant distance from the first: no index arithmetic is left in the loop. Each sum is added up
in one fixed order, whatever the block sizes of the machine at hand.
"""

from __future__ import annotations

from collections.abc import Sequence

from xpcnn.ops.cpu.compiled.ir import Function, Value

__all__ = ["outer_products", "stepping", "vector_type"]

# Multiply-adds in one round of the loop. Longer straight code tempts LLVM into keeping scalars for later steps, and
# sums are pushed out of the registers: half the speed, measured with 60 on AVX-512 and with 16 on AVX2.
_ROUND = 12


def vector_type(lanes: int) -> str:
    return f"<{lanes} x float>"


def outer_products(
    f: Function,
    acc: Sequence[Value],
    scalars: Value,
    scalar_offsets: Sequence[int],
    vectors: Value,
    vector_offsets: Sequence[int],
    lanes: int,
) -> list[Value]:
    """One step: acc, P*Q vectors, i major, with the products added. Offsets are in bytes from the two pointers."""
    kind = vector_type(lanes)
    loaded = [f.load(kind, vectors, offset) for offset in vector_offsets]
    new = []
    for i, offset in enumerate(scalar_offsets):
        spread = f.splat(f.load("float", scalars, offset), lanes)
        for q, vector in enumerate(loaded):
            old = acc[i * len(loaded) + q]
            # fmuladd, not fma: on a processor without the fused instruction fma would be a library call.
            new.append(f.let(f"call {kind} @llvm.fmuladd.v{lanes}f32({kind} {spread}, {kind} {vector}, {kind} {old})"))
    return new


def stepping(
    f: Function,
    steps: int,
    acc: Sequence[Value],
    scalars: tuple[Value, int],
    scalar_offsets: Sequence[int],
    vectors: tuple[Value, int],
    vector_offsets: Sequence[int],
    lanes: int,
) -> list[Value]:
    """`steps` steps in a loop, several to a round where blocks are small.

    scalars, vectors: a pointer and how many bytes it moves a step.
    """
    together = next(u for u in (4, 3, 2, 1) if steps % u == 0 and (u == 1 or u * len(acc) <= _ROUND))

    def round_(_: Value, carried: list[Value]) -> list[Value]:
        x, w, *sums = carried
        for u in range(together):
            sums = outer_products(
                f,
                sums,
                x,
                [u * scalars[1] + offset for offset in scalar_offsets],
                w,
                [u * vectors[1] + offset for offset in vector_offsets],
                lanes,
            )
        return [f.at(x, together * scalars[1]), f.at(w, together * vectors[1]), *sums]

    kind = vector_type(lanes)
    carry = [("ptr", scalars[0]), ("ptr", vectors[0]), *((kind, a) for a in acc)]
    return f.loop(steps // together, round_, carry)[2:]
