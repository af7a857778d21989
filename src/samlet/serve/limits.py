"""Limits on the body of any request, its bytes and its time, whatever its route does with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class _TooLargeError(Exception):
    pass


class BodyLimit:
    """ASGI middleware that answers 413 to a body of too many bytes, not read to its end, and 408 to a slow one.

    Args:
        app: what comes after.
        max_bytes: of a body.
        timeout_s: in which a body must be there, seconds.
    """

    def __init__(self, app: App, max_bytes: int, timeout_s: float) -> None:
        self.app, self.max_bytes, self.timeout_s = app, max_bytes, timeout_s

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        seen, begun = int(length) if length.isdigit() else 0, False
        large = f"the body has more than the {self.max_bytes} bytes that are taken; send a smaller picture"
        slow = f"the body was not there after {self.timeout_s:g} s; send a smaller picture, or over a faster line"
        if seen > self.max_bytes:
            await self._refuse(send, 413, large)
            return
        seen, whole = 0, False
        clock = asyncio.get_running_loop()
        end = clock.time() + self.timeout_s

        async def counted() -> Message:
            nonlocal seen, whole
            if whole:  # what comes now is that the client goes away
                return await receive()
            message = await asyncio.wait_for(receive(), max(0.0, end - clock.time()))
            whole = not message.get("more_body", False)
            seen += len(message.get("body", b""))
            if seen > self.max_bytes:
                raise _TooLargeError
            return message

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, counted, watched)
        except (_TooLargeError, TimeoutError) as error:
            if begun:
                raise
            late = isinstance(error, TimeoutError)
            await self._refuse(send, 408 if late else 413, slow if late else large)

    @staticmethod
    async def _refuse(send: Send, status: int, said: str) -> None:
        body = json.dumps({"detail": said}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"connection", b"close")]})
        await send({"type": "http.response.body", "body": body})
