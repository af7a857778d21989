"""A look through a pickle before it is loaded, so that no number in it makes memory or time grow without bound."""

from __future__ import annotations

import io
import mmap
import pickletools
from typing import IO, Any, cast

MAX_PICKLE = 1 << 24  # bytes of a pickle without its tensors; published ones have less than a megabyte
_MAX_STEPS = 1 << 20  # instructions; published ones have some ten thousand
_MAX_LONG = 1 << 12  # whole numbers of more than four bytes, which keys of one and the same hash are made of
_LONG = 4  # bytes
_MAX_WEIGHT = 1 << 16  # objects in a tuple, those inside its tuples too: what hashing it as a key walks through
_WIDEST = 1 << 16  # bits of a number
_MARK = -1


class UnsafeError(Exception):
    """A file names something that no checkpoint needs; `args[0]` is the name."""


class DamagedError(Exception):
    """A file is not whole, or contradicts itself; `args[0]` says how."""


def end_of_pickle(content: bytes | mmap.mmap, start: int) -> int:
    """Where a pickle ends.

    Raises:
        UnsafeError: it uses an extension code.
        DamagedError: it would allocate or compute without bound, or has no end.
    """
    stream = io.BytesIO(content) if isinstance(content, bytes) else content
    stream.seek(start)
    weights, long = _Weights(), 0
    for count, (code, argument, _) in enumerate(pickletools.genops(cast(IO[bytes], stream))):
        if "PUT" in code.name and int(argument or 0) > count:
            raise DamagedError(f"it numbers an object {argument}, more than it can have")
        if code.name.startswith("EXT"):
            raise UnsafeError(f"extension {argument}")
        if stream.tell() - start > MAX_PICKLE:
            raise DamagedError("it has no end")
        if count > _MAX_STEPS:
            raise DamagedError(f"it has more than {_MAX_STEPS} instructions")
        if isinstance(argument, int) and argument.bit_length() > 8 * _LONG:
            long += 1
            if long > _MAX_LONG or argument.bit_length() > _WIDEST:
                raise DamagedError(
                    f"it has numbers of {argument.bit_length()} bits, or more than {_MAX_LONG} long ones"
                )
        weights.step(code, argument)
    return stream.tell()


class _Weights:
    """The unpickler's stack, of which only the weights of tuples are known; anything else weighs 1.

    A tuple may stand in another twice, and that one in a third: thirty lines make one that takes for ever to hash.
    """

    def __init__(self) -> None:
        self._stack: list[int] = []
        self._memo: dict[int, int] = {}

    def step(self, code: Any, argument: Any) -> None:
        name, stack = code.name, self._stack
        if name == "MARK":
            stack.append(_MARK)
        elif "PUT" in name or name == "MEMOIZE":
            self._memo[len(self._memo) if name == "MEMOIZE" else int(argument)] = stack[-1] if stack else 1
        elif name.endswith("GET"):
            stack.append(self._memo.get(int(argument), 1))
        elif name == "DUP":
            stack.append(stack[-1] if stack else 1)
        elif "mark" in [kind.name for kind in code.stack_before]:
            inside = self._down_to_mark()
            before = code.stack_before.index(pickletools.markobject)
            self._replace(before, len(code.stack_after), inside, name)
        else:
            self._replace(len(code.stack_before), len(code.stack_after), 0, name)

    def _down_to_mark(self) -> int:
        total = 0
        while self._stack and (weight := self._stack.pop()) != _MARK:
            total += weight
        return total

    def _replace(self, taken: int, given: int, inside: int, name: str) -> None:
        total = inside + sum(max(0, self._stack.pop()) for _ in range(min(taken, len(self._stack))))
        weight = 1 + total if "TUPLE" in name or name == "FROZENSET" else 1
        if weight > _MAX_WEIGHT:
            raise DamagedError(f"a tuple in it holds more than {_MAX_WEIGHT} objects")
        self._stack.extend([weight] * given)
