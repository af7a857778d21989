"""A server of one static folder on this machine, cross-origin isolated, so that pages may use threads."""

from __future__ import annotations

import errno
import http.server
import sys
from functools import partial
from pathlib import Path
from typing import Any

from samlet.errors import InputError

HOST = "127.0.0.1"
DEFAULT_PORT = 8000

_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".gz": "application/gzip",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".md": "text/plain; charset=utf-8",
    "": "text/plain; charset=utf-8",
}


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, **_TYPES}  # noqa: RUF012
    isolated = True

    def end_headers(self) -> None:
        if self.isolated:
            for name, value in _HEADERS.items():
                self.send_header(name, value)
        super().end_headers()

    def log_request(self, *_: Any) -> None:
        """Say nothing of what goes well."""


class _Plain(_Handler):
    isolated = False


class PageServer(http.server.ThreadingHTTPServer):
    """Serves a folder to this machine alone.

    Args:
        folder: of a page.
        port: 0 for any that is free.
        isolated: send the headers that cross-origin isolation asks for; without them a page runs in one thread.

    Raises:
        InputError: a port in use, or none at all.
    """

    daemon_threads = True
    allow_reuse_address = sys.platform != "win32"

    def __init__(self, folder: Path, port: int = DEFAULT_PORT, isolated: bool = True) -> None:
        if not 0 <= port < 2**16:
            raise InputError(f"port is {port}; expected 0 to {2**16 - 1}, 0 for any that is free")
        try:
            super().__init__((HOST, port), partial(_Handler if isolated else _Plain, directory=str(folder)))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                why = "in use by another program" if error.errno == errno.EADDRINUSE else "not for this user"
                raise InputError(f"port {port} is {why}; name another one, or 0 for any that is free") from error
            raise

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Browsers close connections when they please."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)
