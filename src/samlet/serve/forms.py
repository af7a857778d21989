"""Pictures that are sent as a form (`curl -F image=@photo.jpg`), as browsers and many programs do."""

from __future__ import annotations

from email.message import Message

from samlet.serve.errors import RequestError

FORM = "multipart/form-data"
_HEADERS_END = b"\r\n\r\n"
_LONGEST = 4096  # bytes of a header
_MOST_PARTS = 16


def picture_of(content_type: str, body: bytes) -> bytes:
    """The bytes of the picture: the body itself, or the one file in it where it is a form.

    Args:
        content_type: header of the request; '' if it has none.
        body: of the request.

    Raises:
        RequestError: a form that cannot be read, or that holds no file or several (422).
    """
    if not content_type.lower().startswith(FORM):
        return body
    parts = _parts(content_type, body)
    found = [content for name, content in parts if name is not None] or [content for _, content in parts]
    if len(found) != 1:
        raise RequestError(422, f"the form holds {len(found)} pictures; expected one: send a request for each")
    return found[0]


def _parts(content_type: str, body: bytes) -> list[tuple[str | None, bytes]]:
    """File name and content of every part of a form; the name is None where it is a plain field."""
    boundary = _parameter(content_type, "content-type", "boundary") if len(content_type) <= _LONGEST else None
    if not boundary:
        raise RequestError(422, f"the form's content-type is {content_type[:80]!r}; expected a boundary in it")
    mark = b"\r\n--" + boundary.encode("latin-1", "replace")
    others = (b"\r\n" + body).split(mark, _MOST_PARTS + 2)[1:]
    if len(others) > _MOST_PARTS + 1:
        raise RequestError(422, f"the form has more than {_MOST_PARTS} parts; expected one picture")
    if not others or not others[-1].startswith(b"--"):
        raise RequestError(422, f"the form has {len(body)} bytes and no end; send it again, whole")
    parts = []
    for part in others[:-1]:
        head, found, content = part.partition(_HEADERS_END)
        disposition = _disposition(head[:_LONGEST])
        if not found or disposition is None:
            raise RequestError(422, "a part of the form has no content-disposition; expected one with a name")
        parts.append((_parameter(disposition, "content-disposition", "filename"), content))
    return parts


def _disposition(head: bytes) -> str | None:
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            return value.strip()
    return None


def _parameter(value: str, header: str, name: str) -> str | None:
    """A parameter of a header, such as the boundary of a content type."""
    message = Message()
    message[header] = " ".join(value.splitlines())
    found = message.get_param(name, header=header)
    return found if isinstance(found, str) else None if found is None else found[2]
