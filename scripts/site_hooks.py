"""What mkdocs needs for links from the documentation to files of the repository outside docs/.

Such a file is copied into the site as plain text, under `repository/`, and the link is changed to the copy. In the
repository itself the links lead to the files.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"(?<!!)\]\((\.\./[^)#\s]+)(#[^)]*)?\)")


def _outside(source: Path, target: str, docs: Path) -> Path | None:
    """The file of the repository that a link on page `source` leads to, if it is outside of the documentation."""
    path = (source.parent / target).resolve()
    return path if path.is_file() and not path.is_relative_to(docs) else None


def _address(path: Path, root: Path) -> str:
    return f"repository/{path.relative_to(root).as_posix()}.txt"


def on_files(files: Any, config: Any) -> Any:
    """Add the files that pages link to."""
    from mkdocs.structure.files import File

    docs = Path(config.docs_dir).resolve()
    found = {
        path
        for page in docs.rglob("*.md")
        for target, _ in LINK.findall(page.read_text(encoding="utf-8"))
        if (path := _outside(page, target, docs)) is not None
    }
    for path in sorted(found):
        content = path.read_text(encoding="utf-8")
        files.append(File.generated(config, _address(path, docs.parent), content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:  # noqa: ARG001
    """Lead links to files outside of the documentation to their copies."""
    docs, source = Path(config.docs_dir).resolve(), Path(page.file.abs_src_path).resolve()

    def change(match: re.Match[str]) -> str:
        path = _outside(source, match[1], docs)
        if path is None:
            return match[0]
        return f"]({os.path.relpath(docs / _address(path, docs.parent), source.parent)})"

    return LINK.sub(change, markdown)
