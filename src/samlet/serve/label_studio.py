"""What Label Studio sends and expects of an ML backend."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
import uuid
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from typing import Any

from samlet.data.masks import decode_rle
from samlet.serve.brush import encode_brush
from samlet.serve.errors import RequestError
from samlet.serve.model_thread import Prompt
from samlet.serve.settings import ServeSettings

KEY = "LABEL_STUDIO_API_KEY"
"""Environment variable with the token that pictures are fetched with."""
_FETCH_S = 20.0


@dataclass(frozen=True)
class Interface:
    """Where masks go in a project.

    Attributes:
        from_name: of the brush.
        to_name: of the picture.
        key: of a task's data, which has the picture's address.
        label: that masks get unless the prompt has one.
    """

    from_name: str
    to_name: str
    key: str
    label: str


def read_interface(text: str) -> Interface:
    """The brush of a labelling interface.

    Raises:
        RequestError: no XML, or no `BrushLabels` for an `Image` (422).
    """
    if "<!" in re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL):
        raise RequestError(422, "the labelling interface declares a document type or entities; expected plain tags")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise RequestError(422, f"the labelling interface is no XML ({error}); expected <View> with tags") from error
    images = {tag.get("name"): tag.get("value", "") for tag in root.iter("Image")}
    for tag in root.iter("BrushLabels"):
        names = [label.get("value", "") for label in tag.iter("Label")]
        if tag.get("toName") in images and tag.get("name") and names:
            to_name = str(tag.get("toName"))
            return Interface(str(tag.get("name")), to_name, images[to_name].lstrip("$"), names[0])
    raise RequestError(422, "the labelling interface has no BrushLabels with a Label for an Image; add them")


def read_context(context: dict[str, Any], size: tuple[int, int]) -> tuple[Prompt, str | None]:
    """The clicks and the last box of a drawing, percent of the picture, as one prompt; and their label.

    Args:
        context: what Label Studio sends, with `result`.
        size: height and width of the picture, pixels.

    Raises:
        RequestError: nothing in it is a click or a box, or numbers are missing (422).
    """
    height, width = size
    points, labels, box, label = [], [], None, None
    try:
        for one in context["result"]:
            value, kind = one["value"], one.get("type")
            x, y = float(value["x"]) * width / 100, float(value["y"]) * height / 100
            if kind == "keypointlabels":
                points.append((x, y))
                labels.append(int(bool(one.get("is_positive", 1))))
            elif kind == "rectanglelabels":
                box = (x, y, x + float(value["width"]) * width / 100, y + float(value["height"]) * height / 100)
            else:
                continue
            label = next(iter(value.get(kind) or []), label)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RequestError(422, f"the context cannot be read ({error!r}); expected keypoints and rectangles") from error
    if not points and box is None:
        raise RequestError(422, "the context has no keypoint and no rectangle; draw one with a smart tool")
    return Prompt(tuple(points), tuple(labels), box, len(points) + (box is not None) == 1), label


def result(
    mask: dict[str, Any], interface: Interface, label: str | None, size: tuple[int, int], version: str
) -> dict[str, Any]:
    """A prediction with one brush stroke.

    Args:
        mask: as the model answers.
        interface: where it goes.
        label: of the prompt.
        size: height and width of the picture, pixels.
        version: of the model.
    """
    stroke = {
        "id": uuid.uuid4().hex[:10],
        "from_name": interface.from_name,
        "to_name": interface.to_name,
        "original_width": size[1],
        "original_height": size[0],
        "image_rotation": 0,
        "value": {
            "format": "rle",
            "rle": encode_brush(decode_rle(mask["segmentation"])),
            "brushlabels": [label or interface.label],
        },
        "score": mask["predicted_iou"],
        "type": "brushlabels",
        "readonly": False,
    }
    return {"result": [stroke], "score": mask["predicted_iou"], "model_version": version}


class _Stay(urllib.request.HTTPRedirectHandler):
    """No redirects: they would lead to addresses that nobody allowed."""

    def redirect_request(self, *_: Any) -> None:
        return None


def fetch(address: Any, settings: ServeSettings) -> bytes:
    """The bytes of a task's picture: of a data address, or of the Label Studio that the service was started for.

    Raises:
        RequestError: another address (422), or one that cannot be fetched (424) or is too large (413).
    """
    if not isinstance(address, str) or not address:
        raise RequestError(422, f"the task has the picture {str(address)[:60]!r}; expected its address")
    if address.startswith("data:"):
        head, _, body = address.partition(",")
        try:
            content = base64.b64decode(body, validate=True) if head.endswith(";base64") else b""
        except binascii.Error as error:
            raise RequestError(422, f"the task's data address is no base64: {error}") from error
        if not content:
            raise RequestError(422, f"the task's data address begins with {head[:40]!r}; expected data:…;base64,…")
        return content
    home = settings.label_studio
    if home is None:
        raise RequestError(
            422,
            f"the picture is at {address[:80]}, and the service was started without --label-studio ADDRESS, from where "
            "alone pictures are fetched",
        )
    whole = urllib.parse.urljoin(home.rstrip("/") + "/", address)
    ours, theirs = urllib.parse.urlsplit(home), urllib.parse.urlsplit(whole)
    if (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc):
        raise RequestError(422, f"the picture is at {theirs.netloc or address[:40]}; expected one at {ours.netloc}")
    request = urllib.request.Request(whole)
    if token := os.environ.get(KEY):
        request.add_header("Authorization", f"Token {token}")
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=_FETCH_S) as answer:
            content = answer.read(settings.max_bytes + 1)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise RequestError(
            424, f"{whole[:120]} cannot be fetched: {error}; set {KEY} to a token of Label Studio's if it wants one"
        ) from error
    if len(content) > settings.max_bytes:
        raise RequestError(413, f"{whole[:120]} has more than the {settings.max_bytes} bytes that are taken")
    return content


def context_of(body: dict[str, Any]) -> dict[str, Any] | None:
    """What was drawn, if anything was: `params.context`, which may be JSON in a text."""
    params = body.get("params")
    found = params.get("context") if isinstance(params, dict) else None
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except ValueError as error:
            raise RequestError(422, f"params.context is no JSON: {error}") from error
    return found if isinstance(found, dict) and found.get("result") else None
