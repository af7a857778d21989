"""Names of models on the Hugging Face hub: `ORG/NAME`, `ORG/NAME@REVISION`, `ORG/NAME/FILE`, with or without `hf://`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from samlet.errors import InputError

PREFIX = "hf://"
_PART = r"[A-Za-z0-9](?:[\w.-]{0,94}\w)?"
_REFERENCE = re.compile(
    rf"(?P<repository>{_PART}/{_PART})(?:@(?P<revision>refs/(?:pr|convert)/[\w.-]+|[^@/\s]+))?(?:/(?P<file>[^@\s]+))?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CHECKPOINTS = frozenset({".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".onnx"})


@dataclass(frozen=True)
class HubReference:
    """A repository of the hub, at some revision.

    Attributes:
        repository: `ORG/NAME`.
        revision: a branch, tag or commit; "" if none was named.
        file: the one that is meant; "" for the model that the repository holds.
    """

    repository: str
    revision: str = ""
    file: str = ""

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.repository}{revision}" + (f"/{self.file}" if self.file else "")

    @property
    def commit(self) -> str:
        """The revision if it is a whole commit, which never changes; else ""."""
        return self.revision if is_commit(self.revision) else ""


def is_commit(revision: str) -> bool:
    """Whether a revision is a whole commit hash."""
    return _COMMIT.fullmatch(revision) is not None


def parse_reference(text: str) -> HubReference | None:
    """The repository that a name means; None if it is no such name, or looks like a path.

    Raises:
        InputError: `hf://` stands before something that is no name of a repository.
    """
    plain = text.removeprefix(PREFIX)
    found = _REFERENCE.fullmatch(plain)
    parts = {} if found is None else {key: value or "" for key, value in found.groupdict().items()}
    if found is not None and ("--" in parts["repository"] or ".." in plain or not _is_file(parts["file"])):
        parts = {}
    if text.startswith(PREFIX):
        if not parts:
            raise InputError(f"{text!r} names no repository of the hub; expected {PREFIX}ORG/NAME[@REVISION][/FILE]")
    elif not parts or (not parts["revision"] and _looks_like_a_path(plain, parts["file"])):
        return None
    return HubReference(parts["repository"], unquote(parts["revision"]), parts["file"])


def _is_file(name: str) -> bool:
    return not name or all(part not in ("", ".", "..") for part in name.split("/"))


def _looks_like_a_path(text: str, file: str) -> bool:
    """Whether a name without `hf://` and `@` is rather a file or folder, which is not there."""
    suffix = Path(text).suffix.lower() in _CHECKPOINTS
    return Path(text.split("/")[0]).exists() or (not suffix if file else suffix)
