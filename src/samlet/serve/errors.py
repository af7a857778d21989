"""What is wrong with a request, with the status that says so."""

from __future__ import annotations

from samlet.errors import SamletError


class RequestError(SamletError):
    """A request that is answered with an error.

    Args:
        status: of HTTP.
        message: one sentence: the value, what was expected, what to do.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
