"""The photographs that samlet brings along."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

CLICKS: dict[str, tuple[tuple[int, int], ...]] = {
    "astronaut.jpg": ((100, 230), (420, 110)),
    "bee.jpg": ((265, 380),),
    "bridge.jpg": ((330, 270),),
    "cat.jpg": ((250, 60), (172, 110)),
    "citrus.jpg": ((445, 240), (140, 448)),
    "coffee.jpg": ((330, 290),),
    "dogs.jpg": ((214, 250), (305, 415)),
    "drum.jpg": ((250, 505), (240, 700)),
    "fig.jpg": ((470, 260), (650, 250)),
    "temple.jpg": ((215, 175),),
    "tulips.jpg": ((345, 210), (255, 275)),
}
"""Clicks on what a person would point at: x, y in pixels."""


def bundled_photographs() -> list[Path]:
    """In the order of their names; `ORIGINS.md` beside them says where they come from."""
    return sorted(Path(str(files("samlet") / "assets" / "photos")).glob("*.jpg"))
