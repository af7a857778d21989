"""Label Studio's run-length code of a mask, which its brush labels hold.

The layout is that of the npm package rle-pack: 32 bits with the number of values, 5 bits with their width less one,
four times 4 bits with the widths of a length less one; then, run by run, one bit that says that it is one, two bits
with the number of the width, the length less one, and the value. The values are those of red, green, blue and alpha of
each pixel, row by row, all four the same.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from samlet.data.masks import Mask

_CHANNELS, _BITS = 4, 8
_WIDTHS = (3, 4, 8, 16)
_LONGEST = 1 << _WIDTHS[-1]


def encode_brush(mask: Mask) -> list[int]:
    """The code of an (H, W) mask, bytes."""
    bits = [f"{_CHANNELS * mask.size:032b}", f"{_BITS - 1:05b}", *(f"{width - 1:04b}" for width in _WIDTHS)]
    flat = mask.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]])
    for start, end in itertools.pairwise(starts):
        value = f"{255 if flat[start] else 0:08b}"
        left = _CHANNELS * int(end - start)
        while left:
            length = min(left, _LONGEST)
            number = next(i for i, width in enumerate(_WIDTHS) if length <= 1 << width)
            bits.append(f"1{number:02b}{length - 1:0{_WIDTHS[number]}b}{value}")
            left -= length
    text = "".join(bits)
    ones = np.frombuffer(text.encode("ascii"), np.uint8) - ord("0")
    packed: NDArray[np.uint8] = np.packbits(ones)
    return packed.tolist()
