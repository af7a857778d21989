"""The photographs that samlet brings along."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from samlet.errors import InputError
from samlet.io.paths import expanded
from samlet.io.writing import new_file

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


def copy_photographs(folder: str | Path) -> list[Path]:
    """Copy the photographs and `ORIGINS.md` into a folder; what is there already, byte for byte, stays as it is.

    Args:
        folder: made where it is not there.

    Returns:
        The photographs in the folder, in the order of their names.

    Raises:
        InputError: the folder is a file or cannot be written, or holds another file of one of these names.
    """
    target = expanded(folder)
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file; expected a folder to copy photographs to")
    photographs = bundled_photographs()
    sources = [*photographs, photographs[0].parent / "ORIGINS.md"]
    missing = [one for one in sources if not (target / one.name).exists()]
    for one in sources:
        if one not in missing and (target / one.name).read_bytes() != one.read_bytes():
            raise InputError(
                f"{target / one.name} is another file than samlet's; nothing was copied. Name a new folder"
            )
    target.mkdir(parents=True, exist_ok=True)
    for one in missing:
        with new_file(target / one.name) as temporary:
            temporary.write_bytes(one.read_bytes())
    return [target / one.name for one in photographs]
