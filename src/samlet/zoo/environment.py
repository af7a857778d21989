"""What the environment says about the Hugging Face hub, by the names that its own tools use.

`HF_ENDPOINT` names a mirror, `HF_TOKEN` or a token file a token, `HF_HUB_OFFLINE` forbids the network, `HF_HUB_CACHE`
or `HF_HOME` say where downloads are kept. `SAMLET_CACHE` is for samlet alone and comes first.
"""

from __future__ import annotations

import os
from pathlib import Path

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
        path = Path(os.environ.get("HF_TOKEN_PATH") or _home() / "token").expanduser()
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
    hub = Path(shared).expanduser() if shared else _home() / "hub"
    own = os.environ.get("SAMLET_CACHE")
    return (Path(own).expanduser(), hub) if own else (hub,)


def own_folder() -> Path:
    """Where samlet keeps what only it needs, and kept its downloads once: $SAMLET_CACHE, else in the user's cache."""
    chosen = os.environ.get("SAMLET_CACHE")
    return Path(chosen).expanduser() if chosen else _user_cache() / "samlet"


def _home() -> Path:
    chosen = os.environ.get("HF_HOME")
    return Path(chosen).expanduser() if chosen else _user_cache() / "huggingface"


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()


def _is_true(name: str) -> bool:
    return os.environ.get(name, "").strip().upper() in _TRUE
