"""Keyword arguments of `make_page`, so that editors know them; a test holds them to the fields of `WebConfig`."""

from __future__ import annotations

from typing import TypedDict

from samlet.web.config import Weights


class WebKeywords(TypedDict, total=False):
    """Fields of `WebConfig`; see there."""

    size: int
    weights: Weights
    seed: int
