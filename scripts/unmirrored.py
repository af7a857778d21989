"""Modules of the package without a test module of the mirrored name: `data/ranges.py` has `tests/data/test_ranges.py`.

python scripts/unmirrored.py [ROOM]; a module may well be tested elsewhere, by what a user does with it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE, TESTS = ROOT / "src" / "samlet", ROOT / "tests"


def modules() -> list[Path]:
    """All modules that hold something, relative to the package."""
    found = (path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))
    return sorted(path for path in found if path.name not in ("__init__.py", "__main__.py", "_version.py"))


def mirror(module: Path) -> Path:
    """Where the test module of a module would stand, relative to `tests/`."""
    return module.with_name(f"test_{module.name}")


def unmirrored() -> list[Path]:
    """Modules without such a test module."""
    return [module for module in modules() if not (TESTS / mirror(module)).is_file()]


def main() -> None:
    """Print them, with test modules of the same name in other rooms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("room", nargs="?", default="", help="only the modules of that room")
    options = parser.parse_args()
    missing = [module for module in unmirrored() if str(module).startswith(options.room)]
    for module in missing:
        named = [path.relative_to(ROOT).as_posix() for path in sorted(TESTS.rglob(mirror(module).name))]
        print(module.as_posix(), *named, sep="  ")
    print(f"{len(missing)} of {len(modules())} modules have no test module of their name")


if __name__ == "__main__":
    main()
