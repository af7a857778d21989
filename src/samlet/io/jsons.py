"""JSON that every reader takes: it has no NaN and no infinity."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def plain(content: Any) -> Any:
    """Content with null in place of NaN, and with the words `inf` and `-inf`."""
    if isinstance(content, float):
        if math.isnan(content):
            return None
        return content if math.isfinite(content) else f"{content}"
    if isinstance(content, Mapping):
        return {key: plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    return content


def dumps(content: Any, **options: Any) -> str:
    """As `json.dumps`, of `plain` content."""
    try:
        text = json.dumps(content, allow_nan=False, **options)
    except ValueError:  # seldom, so that nothing is copied for it
        text = json.dumps(plain(content), allow_nan=False, **options)
    # Bytes of a file's name that are no UTF-8 are lone surrogates in Python, and have an escape of their own in JSON.
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")
