"""A reader of Label Studio's run-length code, bit by bit, that shares nothing with the writer."""

from __future__ import annotations

import numpy as np


def unpacked(code: list[int]) -> np.ndarray:
    """The values of all pixels, four each."""
    bits = "".join(f"{byte:08b}" for byte in code)
    at = 0

    def read(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    count, word, widths = read(32), read(5) + 1, [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        run, length = read(1), read(widths[read(2)]) + 1
        values += [read(word)] * length if run else [read(word) for _ in range(length)]
    return np.array(values)
