"""A look through a pickle's opcodes before the real unpickler sees them.

The C unpickler trusts things that a hostile file can use to take the process down, or to keep it busy for hours,
before any check of ours runs: memo numbers (it makes a table as long as the number) and keys of dicts (hashing a deep
tuple overflows the C stack; numbers can be chosen so that all have one hash). Also, opcodes that lead round
`find_class` are refused here, and bytes behind the pickle's end.
"""

from __future__ import annotations

import pickletools
from typing import Any

from xpcnn.errors import CheckpointError
from xpcnn.formats.limits import shown

__all__ = ["scan"]

_REFUSED = {
    "PERSID": "refers to an outside object",
    "BINPERSID": "refers to an outside object",
    "EXT1": "uses the extension registry",
    "EXT2": "uses the extension registry",
    "EXT4": "uses the extension registry",
    "NEXT_BUFFER": "keeps its bytes outside the file",
    "EMPTY_SET": "holds a set",
    "FROZENSET": "holds a set",
}
_MARK = "mark"
_TEXT = "text"  # text or bytes, whose hashes nobody can foresee
_PLAIN = "plain"  # a value whose hash is quick: a number, or what a constructor gave back
_OTHER = "other"
_MOST_STEPS = 1 << 19  # CIFAR-100's 50,000 file names and labels are 200,000; an array takes about 50
_MOST_NUMBER_KEYS = 1000  # of all dicts together


def scan(data: bytes) -> None:
    """Raises CheckpointError for opcodes, memo numbers or keys that no file of arrays has.

    Follows the unpickler's stack with one word for each value on it. What is merely damaged may get through, or
    raise ValueError or IndexError: the unpickler has its own word to say about that.
    """
    stack: list[str] = []
    memo: dict[int, str] = {}
    number_keys = 0
    end = 0
    for step, (opcode, given, position) in enumerate(pickletools.genops(data)):
        if step > _MOST_STEPS:
            raise CheckpointError(
                f"it takes more than {_MOST_STEPS:,} steps to build; keep numbers in arrays, not lists"
            )
        end = (position or 0) + 1
        argument: Any = given
        name = opcode.name
        if name in _REFUSED:
            raise CheckpointError(f"the file {_REFUSED[name]}, which is not allowed")
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            number = len(memo) if name == "MEMOIZE" else int(argument)
            if number > len(data):
                raise CheckpointError(f"the file numbers an object {shown(number)}, far more than it can hold")
            memo[number] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument)])
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "MARK":
            stack.append(_MARK)
        else:
            number_keys += _follow(opcode, stack)
            if number_keys > _MOST_NUMBER_KEYS:
                raise CheckpointError(f"its dicts have more than {_MOST_NUMBER_KEYS:,} keys that are not text")
    if end < len(data):
        raise CheckpointError(f"{len(data) - end:,} bytes follow the end of the pickle")


def _follow(opcode: pickletools.OpcodeInfo, stack: list[str]) -> int:
    """Takes off the stack what the opcode uses, and puts on what it makes; how many keys it used that are not text."""
    used: list[str] = []
    if pickletools.markobject in opcode.stack_before:
        while (item := stack.pop()) != _MARK:
            used.append(item)
        used.reverse()
        for _ in opcode.stack_before[: opcode.stack_before.index(pickletools.markobject)]:
            stack.pop()
    else:
        for _ in opcode.stack_before:
            used.append(stack.pop())
        used.reverse()
    if opcode.name == "DICT" or opcode.name == "SETITEMS":
        keys = used[::2]
    elif opcode.name == "SETITEM":
        keys = used[1:2]
    else:
        keys = []
    if any(key not in (_PLAIN, _TEXT) for key in keys):
        raise CheckpointError("a dict has a key that is not a plain value")
    stack.extend(_made(opcode) for _ in opcode.stack_after)
    return keys.count(_PLAIN)


def _made(opcode: pickletools.OpcodeInfo) -> str:
    if opcode.name in _CONTAINERS:
        return _OTHER
    return _TEXT if opcode.stack_after[0].name in _TEXTS else _PLAIN


_CONTAINERS = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_TUPLE", "LIST", "EMPTY_LIST", "DICT", "EMPTY_DICT",
               "APPEND", "APPENDS", "SETITEM", "SETITEMS", "BUILD"}  # fmt: skip
_TEXTS = {kind.name for kind in (pickletools.pyunicode, pickletools.pybytes, pickletools.pybytes_or_str)}
