"""What does not fit the description of a request, in one sentence: the field, its value, what is expected."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from typing import Any

from samlet.serve.schemas import EverythingBody, MasksBody, PromptBody

FORMS = {
    "prompts": '[{"points": [[x, y]]}, …]',
    "points": "[[x, y], …] in pixels of the picture, 256 at most",
    "labels": "[1, 0, …], one for each point: 1 foreground, 0 background",
    "box": "[x0, y0, x1, y1] in pixels of the picture",
}
"""Fields that are lists, and how they are written."""
_SHAPES = ("missing", "list_type", "tuple_type", "too_long", "too_short", "model_attributes_type")
_BODIES = {
    "masks": (MasksBody, '{"prompts": [{"points": [[x, y]]}]}'),
    "everything": (EverythingBody, '{"strategy": "grid"}'),
    "predict": (None, '{"tasks": […]}'),
}
_SHOWN = 60  # letters of a value
_READ_ON = "; /docs says how to ask"


def sentence(error: Mapping[str, Any], path: str, content_type: str) -> str:
    """One of pydantic's errors in words.

    Args:
        error: `type`, `loc`, `msg`, and often `input` and `ctx`.
        path: of the request's address.
        content_type: header of the request; '' if it has none.
    """
    body, example = _BODIES.get(path.rpartition("/")[2], (None, "{…}"))
    kind, value = error["type"], error.get("input")
    place = [part for part in error["loc"] if part != "body"]
    short = kind == "missing" and bool(place) and isinstance(place[-1], int)
    place = place[:-1] if short else place  # not the element that is missing, but its list
    where = ".".join(str(part)[:_SHOWN] for part in place)
    if kind == "json_invalid":
        why = str((error.get("ctx") or {}).get("error", error["msg"]))
        return f"the body is no JSON, at character {where}: {why}; expected {example}{_READ_ON}"
    if isinstance(value, bytes) and not place:
        sent = content_type or "no content-type"
        return f"the body came with {sent[:_SHOWN]}; expected JSON: add -H 'content-type: application/json'{_READ_ON}"
    if not place:
        found = "the body is empty" if value is None else f"the body is {_shown(value)}"
        return f"{found}; expected {example}{_READ_ON}"
    if kind == "extra_forbidden":
        model = PromptBody if "prompts" in place else body
        return f"{where} is unknown; expected {_names(str(place[-1]), model)}{_READ_ON}"
    field = next((part for part in reversed(place) if isinstance(part, str)), "")
    found = "missing" if kind == "missing" and not short else _shown(value)
    expected = f"{field} as {FORMS[field]}" if field in FORMS and kind in _SHAPES else _expected(error["msg"], example)
    return f"{where} is {found}; expected {expected}{_READ_ON}"


def _names(given: str, model: Any) -> str:
    """The fields of a body, and the one that was perhaps meant."""
    if model is None:
        return "the fields of /openapi.json"
    known = list(model.model_fields)
    close = difflib.get_close_matches(given, known, 1, 0.6)
    listed = f"{', '.join(known[:-1])} or {known[-1]}" if len(known) > 1 else known[0]
    return listed + (f", perhaps you mean {close[0]}" if close and len(known) > 1 else "")


def _expected(message: str, example: str) -> str:
    """What pydantic says that it expected: `Input should be a valid number, unable to …` is `a number`."""
    text = re.sub(r"^(Input|Value|\w+) should (be|have) ", "", message)
    text = re.sub(r", (unable to|got) .*| after validation, not .*", "", text).replace("a valid ", "a ")
    text = {"a integer": "a whole number", "a boolean": "true or false"}.get(text, text)
    return example if "dictionary" in text else text


def _shown(value: Any) -> str:
    """A value as JSON has it, cut where it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
