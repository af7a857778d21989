"""Broken and hostile files, and commands that are stopped."""

from __future__ import annotations

import os

THOROUGH = bool(os.environ.get("SAMLET_THOROUGH"))
"""All moments and changes, as `make test-thorough` asks for; `make test-slow` takes a fifth of them."""
