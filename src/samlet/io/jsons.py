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
        return json.dumps(content, allow_nan=False, **options)
    except ValueError:  # seldom, so that nothing is copied for it
        return json.dumps(plain(content), allow_nan=False, **options)
