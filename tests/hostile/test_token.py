"""The token of the hub goes to the address that was asked, and never on to where that one redirects."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from samlet.zoo.download import fetch

CONTENT = b"weights"


class _Server(HTTPServer):
    seen: list[str | None]
    target: str | None


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.seen.append(self.headers.get("Authorization"))
        if self.server.target is not None:
            self.send_response(302)
            self.send_header("Location", self.server.target)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.send_header("ETag", '"x"')
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def servers() -> Iterator[tuple[_Server, _Server]]:
    """Two of them on this machine, at two ports."""
    made = []
    for _ in range(2):
        server = _Server(("127.0.0.1", 0), _Handler)
        server.seen, server.target = [], None
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made.append(server)
    yield made[0], made[1]
    for server in made:
        server.shutdown()
        server.server_close()


def address(server: _Server, host: str = "127.0.0.1") -> str:
    return f"http://{host}:{server.server_port}/m.safetensors"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_redirect_to_another_port_or_host_gets_no_token(servers, tmp_path, host):
    first, second = servers
    first.target = address(second, host)
    fetch(address(first), tmp_path / "m.safetensors", "hf_secret")
    assert (tmp_path / "m.safetensors").read_bytes() == CONTENT
    assert set(first.seen) == {"Bearer hf_secret"}
    assert set(second.seen) == {None}


def test_the_address_that_was_named_gets_it(servers, tmp_path):
    first, _ = servers
    fetch(address(first), tmp_path / "m.safetensors", "hf_secret")
    assert set(first.seen) == {"Bearer hf_secret"}
