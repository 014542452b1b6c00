"""A few lines of Python that write LLVM IR as text: values get fresh names, loops get their phi nodes.

Every loop is a do-while: it runs at least once, so its count must be 1 or more (the callers see to that).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["NUMBERS", "Function", "Value"]

Value = str  # "%v7" or a constant such as "16"
NUMBERS = 16  # how many there are in the table that every kernel is handed


class Function:
    """One function being written. `types` are those of its arguments, named %a0, %a1, ...

    Every function takes one more: a table of int32 0, 1, ..., 15. Vector constants are read from there; in the text
    LLVM would put them into a section of their own, and the code could not be used without a linker.
    """

    def __init__(self, name: str, types: Sequence[str]) -> None:
        self.name = name
        self.types = tuple(types)
        self.args = [f"%a{i}" for i in range(len(self.types))]
        self._lines: list[str] = ["entry:"]
        self._block = "entry"
        self._count = 0

    def text(self, attributes: str) -> str:
        arguments = ", ".join(f"{kind} {name}" for kind, name in zip(self.types, self.args, strict=True))
        body = "\n".join(self._lines)
        head = f"define void @{self.name}({arguments}, ptr %numbers) {attributes}"
        return f"{head} {{\n{body}\n  ret void\n}}\n!0 = !{{i32 0, i32 {NUMBERS}}}\n"

    # ------------------------------------------------------------------------------------------------- values
    def _fresh(self, stem: str = "v") -> str:
        self._count += 1
        return f"%{stem}{self._count}"

    def do(self, instruction: str) -> None:
        self._lines.append(f"  {instruction}")

    def let(self, instruction: str) -> Value:
        name = self._fresh()
        self.do(f"{name} = {instruction}")
        return name

    def add(self, a: Value, b: Value | int) -> Value:
        return self.let(f"add nsw i64 {a}, {b}")

    def sub(self, a: Value | int, b: Value) -> Value:
        return self.let(f"sub nsw i64 {a}, {b}")

    def mul(self, a: Value, b: Value | int) -> Value:
        return self.let(f"mul nsw i64 {a}, {b}")

    def smaller(self, a: Value, b: Value | int) -> Value:
        less = self.let(f"icmp slt i64 {a}, {b}")
        return self.let(f"select i1 {less}, i64 {a}, i64 {b}")

    def at(self, pointer: Value, offset: Value | int) -> Value:
        """The address `offset` bytes further on."""
        return pointer if offset in (0, "0") else self.let(f"getelementptr i8, ptr {pointer}, i64 {offset}")

    def load(self, kind: str, pointer: Value, offset: Value | int = 0, align: int = 4) -> Value:
        return self.let(f"load {kind}, ptr {self.at(pointer, offset)}, align {align}")

    def store(self, kind: str, value: Value, pointer: Value, offset: Value | int = 0, align: int = 4) -> None:
        self.do(f"store {kind} {value}, ptr {self.at(pointer, offset)}, align {align}")

    def splat(self, scalar: Value, lanes: int, kind: str = "float") -> Value:
        """The scalar in every lane."""
        first = self.let(f"insertelement <{lanes} x {kind}> poison, {kind} {scalar}, i64 0")
        return self.let(
            f"shufflevector <{lanes} x {kind}> {first}, <{lanes} x {kind}> poison, <{lanes} x i32> zeroinitializer"
        )

    def everywhere(self, number: int, lanes: int) -> Value:
        """The int32 `number` in every lane."""
        # The range lets LLVM narrow such numbers to bytes without a mask, which would be a constant again.
        place = self.at("%numbers", 4 * number)
        return self.splat(self.let(f"load i32, ptr {place}, align 4, !range !0"), lanes, "i32")

    def below(self, limit: Value | int, lanes: int) -> Value:
        """Which lanes (0, 1, ...) lie below `limit`: a number up to 15, or an i64."""
        if isinstance(limit, int):
            bound = self.everywhere(limit, lanes)
        else:
            bound = self.splat(self.let(f"trunc i64 {limit} to i32"), lanes, "i32")
        lane_numbers = self.load(f"<{lanes} x i32>", "%numbers")
        return self.let(f"icmp slt <{lanes} x i32> {lane_numbers}, {bound}")

    # -------------------------------------------------------------------------------------------------- loops
    def loop(
        self,
        count: Value | int,
        body: Callable[[Value, list[Value]], Sequence[Value]],
        carry: Sequence[tuple[str, Value]] = (),
    ) -> list[Value]:
        """do body(i, carried) for i = 0 .. count-1; body returns the carried values for the next round.

        carry: type and first value of each. Returns their last values. A loop of one round becomes straight code.
        """
        if count in (1, "1"):
            return list(body("0", [first for _, first in carry]))
        before, head, tail, after = self._block, *(self._fresh(stem)[1:] for stem in ("head", "tail", "after"))
        i = self._fresh("i")
        names = [self._fresh("c") for _ in carry]
        self.do(f"br label %{head}")
        self._open(head)
        place = len(self._lines)
        new = body(i, names)
        self.do(f"br label %{tail}")
        self._open(tail)
        i_next = self.add(i, 1)
        self.do(f"br i1 {self.let(f'icmp slt i64 {i_next}, {count}')}, label %{head}, label %{after}")
        phis = [f"  {i} = phi i64 [ 0, %{before} ], [ {i_next}, %{tail} ]"]
        for name, (kind, first), last in zip(names, carry, new, strict=True):
            phis.append(f"  {name} = phi {kind} [ {first}, %{before} ], [ {last}, %{tail} ]")
        self._lines[place:place] = phis
        self._open(after)
        return list(new)

    def loop_or_none(
        self,
        count: Value,
        body: Callable[[Value, list[Value]], Sequence[Value]],
        carry: Sequence[tuple[str, Value]] = (),
    ) -> list[Value]:
        """As `loop`, for a count that may be 0."""
        before, inside, after = self._block, *(self._fresh(stem)[1:] for stem in ("some", "none"))
        any_ = self.let(f"icmp sgt i64 {count}, 0")
        self.do(f"br i1 {any_}, label %{inside}, label %{after}")
        self._open(inside)
        last = self.loop(count, body, carry)
        end = self._block
        self.do(f"br label %{after}")
        self._open(after)
        return [
            self.let(f"phi {kind} [ {first}, %{before} ], [ {new}, %{end} ]")
            for (kind, first), new in zip(carry, last, strict=True)
        ]

    def when(self, condition: Value, body: Callable[[], None], otherwise: Callable[[], None] | None = None) -> None:
        """body() where the i1 `condition` holds, else otherwise(); they give no values."""
        yes, no, after = (self._fresh(stem)[1:] for stem in ("yes", "no", "after"))
        self.do(f"br i1 {condition}, label %{yes}, label %{no}")
        for label, part in ((yes, body), (no, otherwise)):
            self._open(label)
            if part is not None:
                part()
            self.do(f"br label %{after}")
        self._open(after)

    def _open(self, label: str) -> None:
        self._lines.append(f"{label}:")
        self._block = label
