"""What the environment says about the Hugging Face hub, by the names that its own tools use.

`HF_ENDPOINT` names a mirror, `HF_TOKEN` or a token file a token, `HF_HUB_OFFLINE` forbids the network, `HF_HUB_CACHE`
or `HF_HOME` say where downloads are kept. `SAMLET_CACHE` is for samlet alone and comes first.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from samlet.errors import InputError
from samlet.io.paths import expanded

HUB = "https://huggingface.co"
_TRUE = {"1", "ON", "YES", "TRUE"}


def endpoint() -> str:
    """Address of the hub, or of the mirror that the user named."""
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def token() -> str | None:
    """What shows the endpoint who asks: HF_TOKEN, else the file that `hf auth login` writes; None if there is none.

    It is for `endpoint()`, the hub over TLS or what the user named, and for no other host.
    """
    given = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
    if given is None and not _is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        path = expanded(os.environ.get("HF_TOKEN_PATH") or _home() / "token")
        try:
            given = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            given = None
    return (given or "").strip() or None


def offline() -> str | None:
    """The variable that forbids the network; None if none does."""
    return next((name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if _is_true(name)), None)


def cache_folders() -> tuple[Path, ...]:
    """Where downloads are looked for; the first is where they are kept."""
    shared = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    hub = expanded(shared) if shared else _home() / "hub"
    own = os.environ.get("SAMLET_CACHE")
    return (expanded(own), hub) if own else (hub,)


def own_folder() -> Path:
    """Where samlet keeps what only it needs, and kept its downloads once: $SAMLET_CACHE, else in the user's cache."""
    chosen = os.environ.get("SAMLET_CACHE")
    return expanded(chosen) if chosen else _user_cache() / "samlet"


def _home() -> Path:
    chosen = os.environ.get("HF_HOME")
    return expanded(chosen) if chosen else _user_cache() / "huggingface"


def _user_cache() -> Path:
    """The user's cache; who has no home folder, as in some containers, has one among the temporary files.

    Raises:
        InputError: that one belongs to somebody else.
    """
    try:
        return expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    except InputError:
        user = os.getuid()
        folder = Path(tempfile.gettempdir()) / f"cache-of-{user}"
        if folder.is_symlink() or (folder.exists() and folder.stat().st_uid != user):
            raise InputError(
                f"there is no home folder, and {folder} belongs to somebody else; name a folder for downloads in "
                "SAMLET_CACHE and HF_HOME"
            ) from None
        return folder


def _is_true(name: str) -> bool:
    return os.environ.get(name, "").strip().upper() in _TRUE
