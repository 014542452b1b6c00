"""A look through a pickle's opcodes before the real unpickler sees them.

The C unpickler trusts two things that a hostile file can use to take the process down before any check of ours
runs: memo numbers (it makes a table as long as the number) and keys of dicts (hashing a deep tuple overflows the C
stack). Also, opcodes that lead round `find_class` are refused here.
"""

from __future__ import annotations

import pickletools
from typing import Any

from xpcnn.errors import CheckpointError

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
_PLAIN = "plain"  # a value whose hash is quick: a number, text, bytes, or what a constructor gave back
_OTHER = "other"


def scan(data: bytes) -> None:
    """Raises CheckpointError for opcodes, memo numbers or keys that no file of arrays has.

    Follows the unpickler's stack with one word for each value on it. What is merely damaged may get through, or
    raise ValueError or IndexError: the unpickler has its own word to say about that.
    """
    stack: list[str] = []
    memo: dict[int, str] = {}
    for opcode, given, _ in pickletools.genops(data):
        argument: Any = given
        name = opcode.name
        if name in _REFUSED:
            raise CheckpointError(f"the file {_REFUSED[name]}, which is not allowed")
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            number = len(memo) if name == "MEMOIZE" else int(argument)
            if number > len(data):
                raise CheckpointError(f"the file numbers an object {number}, far more than it can hold")
            memo[number] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument)])
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "MARK":
            stack.append(_MARK)
        else:
            _follow(opcode, stack)


def _follow(opcode: pickletools.OpcodeInfo, stack: list[str]) -> None:
    """Takes off the stack what the opcode uses, and puts on what it makes."""
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
    if any(key != _PLAIN for key in keys):
        raise CheckpointError("a dict has a key that is not a plain value")
    made = _OTHER if opcode.name in _CONTAINERS else _PLAIN
    stack.extend(made for _ in opcode.stack_after)


_CONTAINERS = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_TUPLE", "LIST", "EMPTY_LIST", "DICT", "EMPTY_DICT",
               "APPEND", "APPENDS", "SETITEM", "SETITEMS", "BUILD"}  # fmt: skip
