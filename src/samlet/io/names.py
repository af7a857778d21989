"""Names of files that are no UTF-8, in texts that must be.

Python has a byte that is none as a lone surrogate; in a text it becomes that surrogate's escape, as JSON writes it.
"""

from __future__ import annotations

import re

_ESCAPE = re.compile(r"\\udc([89a-f][0-9a-f])")


def escaped(name: str) -> str:
    """A name as text that can be encoded."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def unescaped(text: str) -> str:
    """The name that `escaped` was given."""
    return _ESCAPE.sub(lambda found: chr(0xDC00 + int(found[1], 16)), text)
