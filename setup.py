"""README.md for package indexes, where links between files of the repository would lead nowhere.

They become links to the repository where `[project.urls]` names it, else plain words; then pictures of the repository
go, with their captions. Everything else stands in pyproject.toml.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
_PICTURE = re.compile(r"!\[[^\]]*\]\((?!https?:)([^)]+)\)\n*")
_CAPTION = re.compile(_PICTURE.pattern + r"\*[^\s*](?:[^*]|\n(?!\n))*\*\n\n")
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#)([^)]+)\)")


def absolute_links(text: str, repository: str | None) -> str:
    """Markdown without relative links.

    Args:
        text: Markdown, with links relative to the repository.
        repository: its address; None if it has none.
    """
    if repository is None:
        return _LINK.sub(r"\1", _PICTURE.sub("", _CAPTION.sub("", text)))
    base = repository.rstrip("/")
    text = _PICTURE.sub(lambda found: found[0].replace(f"({found[1]})", f"({base}/raw/main/{found[1]})"), text)
    return _LINK.sub(lambda found: f"[{found[1]}]({base}/blob/main/{found[2]})", text)


if __name__ == "__main__":
    from setuptools import setup

    about = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    setup(
        long_description=absolute_links(
            (HERE / "README.md").read_text(encoding="utf-8"), about["urls"].get("Repository")
        ),
        long_description_content_type="text/markdown",
    )
