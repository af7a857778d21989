"""Limits of the service."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from samlet.errors import InputError

_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/?#\s]+")
_MOST = 10**12  # bytes, pixels, or seconds


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """How much one client may ask, and how much is kept.

    Attributes:
        image_size: side of the encoder's input, pixels; the model's own if None.
        max_bytes: of the body of one request.
        max_pixels: of one picture.
        max_prompts: of one request, and of what is decoded together.
        timeout_s: in which a body must be there, and after which a request is answered with 503, seconds.
        max_waiting: requests that wait for the model; more are answered with 503.
        cache_images: embeddings that are kept, the last used ones.
        cache_bytes: that these embeddings take at most.
        label_studio: address of the Label Studio whose pictures are fetched for its tasks; none are fetched if None.
        allow_origins: of pages whose scripts may ask and read the answers (CORS), such as http://localhost:3000, or *
            for all; none if empty.

    Raises:
        InputError: a limit that lets nothing through, or something that is no address or origin.
    """

    image_size: int | None = None
    max_bytes: int = 20_000_000
    max_pixels: int = 40_000_000
    max_prompts: int = 64
    timeout_s: float = 60.0
    max_waiting: int = 256
    cache_images: int = 32
    cache_bytes: int = 500_000_000
    label_studio: str | None = None
    allow_origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("image_size", "label_studio", "allow_origins") and not 0 < value <= _MOST:
                raise InputError(f"{field.name} is {value}; expected more than 0, at most {_MOST}")
        if self.label_studio is not None and not self.label_studio.startswith(("http://", "https://")):
            raise InputError(f"label_studio is {self.label_studio}; expected an address that begins with http")
        for origin in self.allow_origins:
            if _ORIGIN.fullmatch(origin) is None:
                raise InputError(
                    f"allow_origins has {origin}; expected scheme, host and port alone, such as http://localhost:3000, "
                    "or *"
                )
