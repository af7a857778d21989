"""Asking a server for a file, from some byte on, and reading what it says about the whole."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from samlet._version import __version__
from samlet.errors import SamletError

TIMEOUT = 15.0  # seconds without an answer
_MOST_JSON = 1 << 26  # bytes
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class TransferError(SamletError):
    """The server could not be reached, refused, or stopped before the end. What has arrived is kept."""


class RefusedError(TransferError):
    """The server answered, with an error.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class Remote:
    """What a server says about a file.

    Attributes:
        etag: changes with the content; the SHA-256 of the content if it has 64 hexadecimal digits; "" if there is none.
        size: bytes.
        commit: of the repository that the file is of; "" if the server does not say.
    """

    etag: str
    size: int
    commit: str = field(default="", compare=False)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, keeps the headers of the answers on the way, and keeps the token from other hosts."""

    def __init__(self) -> None:
        self.seen: list[Message] = []

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        self.seen.append(headers)
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and urlsplit(newurl)[:2] != urlsplit(req.full_url)[:2]:
            following.remove_header("Authorization")
        return following


def ask(url: str, token: str | None, start: int, known: Remote | None) -> tuple[HTTPResponse, Remote, int]:
    """Ask for the bytes from `start` on if the file is still the known one, else for all.

    Returns:
        The answer, what it says about the file, and the position of its first byte: `start` or 0.

    Raises:
        TransferError: the server could not be reached or refused.
    """
    try:
        response, answers = _open(url, token, {"Range": f"bytes={start}-"} if start else {})
        remote = _describe(answers)
    except RefusedError as error:
        if start and error.status == 416:  # the file is shorter now
            return ask(url, token, 0, None)
        raise
    except ValueError as error:
        raise TransferError(f"{url}: {error}") from error
    if not start or response.status != 206:
        return response, remote, 0
    found = _RANGE.match(response.headers.get("Content-Range", ""))
    if remote != known or found is None or int(found[1]) != start:
        response.close()
        return ask(url, token, 0, None)
    return response, remote, start


def ask_json(url: str, token: str | None) -> Any:
    """What a server answers, as JSON.

    Raises:
        TransferError: the server could not be reached or refused, or the answer is no JSON.
    """
    response, _ = _open(url, token, {})
    with response:
        try:
            return json.loads(response.read(_MOST_JSON))
        except (OSError, HTTPException, ValueError) as error:
            raise TransferError(f"{url} was answered with something that is no JSON: {error}") from error


def _open(url: str, token: str | None, headers: dict[str, str]) -> tuple[HTTPResponse, list[Message]]:
    """Ask, and follow redirects; the answer, and the headers of all answers on the way."""
    headers = {"User-Agent": f"samlet/{__version__}", **headers}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    redirects = _Redirects()
    try:
        request = urllib.request.Request(url, headers=headers)
        response = urllib.request.build_opener(redirects).open(request, timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        hint = "; set HF_TOKEN to the token of an account that may read it" if error.code in (401, 403) else ""
        raise RefusedError(f"{url} was answered with {error.code} {error.reason}{hint}", error.code) from error
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise TransferError(f"{url}: {str(reason) or type(reason).__name__}") from error
    return response, [*redirects.seen, response.headers]


def read(response: HTTPResponse) -> bytes:
    """The next bytes of an answer; none at its end.

    Raises:
        TransferError: the connection broke.
    """
    try:
        return response.read1(1 << 16)
    except (OSError, HTTPException) as error:
        raise TransferError(f"the connection broke: {error}; the next call continues there") from error


def _describe(answers: Sequence[Message]) -> Remote:
    """Read the headers of a chain of redirects.

    The hub describes a large file in its own answer and redirects to a server with other ETags; a small file it
    redirects to the answer that describes it. So the first that says something is right.
    """

    def first(name: str) -> str | None:
        return next((answer[name] for answer in answers if answer[name]), None)

    found = _RANGE.match(answers[-1].get("Content-Range", ""))
    # The length of a redirect is its own, not the file's.
    size = first("X-Linked-Size") or (found[2] if found else answers[-1]["Content-Length"])
    if size is None:
        raise ValueError("the server does not say how large the file is")
    etag = first("X-Linked-ETag") or first("ETag") or ""
    return Remote(etag=etag.removeprefix("W/").strip('"'), size=int(size), commit=first("X-Repo-Commit") or "")
