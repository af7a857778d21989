"""What newcomers send: forms, wrong fields and addresses, scripts of other pages; and the page that says how."""

from __future__ import annotations

import html
import re
import subprocess
import sys

import pytest

from samlet.errors import InputError
from samlet.serve.settings import ServeSettings
from tests.conftest import PHOTOS, make_tiny

pytest.importorskip("fastapi", reason="fastapi is not installed: pip install 'samlet[serve]'")
from fastapi.testclient import TestClient

from samlet.serve import forms, unreadable
from samlet.serve.app import create_app
from samlet.serve.errors import RequestError
from samlet.serve.schemas import MasksBody, PromptBody

CAT = (PHOTOS / "cat.jpg").read_bytes()
PAGE = "http://localhost:3000"
PROMPT = {"prompts": [{"points": [[20, 20]]}]}


@pytest.fixture(scope="module")
def client():
    with TestClient(create_app(make_tiny(), name="<model>")) as made:
        yield made


@pytest.fixture(scope="module")
def image(client):
    return client.post("/images", content=CAT).json()["image"]


def said(answer, status):
    """The one sentence of an error."""
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"detail"}
    assert "\n" not in answer.json()["detail"]
    return answer.json()["detail"]


@pytest.mark.parametrize("field", ["image", "file", "anything"])
def test_a_picture_in_a_form_is_that_picture(client, image, field):
    answer = client.post("/images", files={field: ("photo.jpg", CAT, "image/jpeg")}, data={"note": "a cat"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["image"] == image


def test_curl_s_own_form_is_read():
    """Word for word what `curl -F image=@photo.jpg` sends; a picture may hold anything but the boundary."""
    content = b"\xff\xd8\r\n--not the boundary\r\n\r\n--\x00\xff\r\n"
    body = (
        b'--------------------------d74496d66958873e\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"'
        b"\r\nContent-Type: image/jpeg\r\n\r\n" + content + b"\r\n--------------------------d74496d66958873e--\r\n"
    )
    kind = "multipart/form-data; boundary=------------------------d74496d66958873e"
    assert forms.picture_of(kind, body) == content
    assert forms.picture_of("image/jpeg", body) == forms.picture_of("", body) == body
    without_name = body.replace(b'; filename="a.jpg"', b"")
    assert forms.picture_of(kind.replace("boundary=", 'Boundary="') + '"', without_name) == content


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        ("multipart/form-data", b"--a\r\n", "expected a boundary"),
        ("multipart/form-data; boundary=" + "a" * 10_000, b"", "expected a boundary"),
        ("multipart/form-data; boundary=a", b"", "no end"),
        ("multipart/form-data; boundary=a", b"--a\r\nContent-Disposition: form-data; name=i\r\n\r\nx", "no end"),
        ("multipart/form-data; boundary=a", b"--a--\r\n", "the form holds 0 pictures; expected one"),
        ("multipart/form-data; boundary=a", b"--a\r\n\r\nx\r\n--a--\r\n", "no content-disposition"),
        ("multipart/form-data; boundary=a", b"--a\r\nContent-Disposition: x\r\n--a--\r\n", "no content-disposition"),
        ("multipart/form-data; boundary=a", b"--a\r\n" * 4_000_000, "more than 16 parts"),
        ("multipart/form-data; boundary=a", b"--a\r\n" + b"Content-Disposition: x;" * 99_999 + b"\r\n--a--", "no c"),
    ],
)  # fmt: skip
def test_forms_that_cannot_be_read(kind, body, words):
    with pytest.raises(RequestError, match=words):
        forms.picture_of(kind, body)


def test_who_sends_no_picture_is_told_the_command(client):
    command = "curl --data-binary @photo.jpg http://testserver/images"
    two = {"a": ("a.jpg", CAT), "b": ("b.jpg", CAT)}
    assert command in said(client.post("/images", files=two), 422)
    assert command in said(client.post("/images", data={"image": "photo.jpg"}), 415)
    assert command in said(client.post("/images", files={"image": (None, b"photo.jpg")}), 415)
    assert command in said(client.post("/images", json={"image": "photo.jpg"}), 415)
    assert command in said(client.post("/images"), 400)


def test_addresses_that_are_none(client):
    assert said(client.post("/image"), 404).startswith("POST /image is not served; expected POST /images")
    answer = client.get("/images")
    assert said(answer, 405).startswith("GET /images is not served; expected POST")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, 'prompts is missing; expected prompts as [{"points": [[x, y]]}, …]'),
        ([], 'the body is []; expected {"prompts": [{"points": [[x, y]]}]}'),
        ({"prompts": {"points": [[5, 5]]}}, 'prompts is {"points": [[5, 5]]}; expected prompts as'),
        ({"prompts": [[5, 5]]}, "prompts.0 is [5, 5]; expected prompts as"),
        ({"prompts": [{"point": [[5, 5]]}]}, "prompts.0.point is unknown; expected points, labels, box or multimask"),
        ({"prompts": [{"points": [5, 5]}]}, "prompts.0.points.0 is 5; expected points as [[x, y], …]"),
        ({"prompts": [{"points": [[5, 5, 1]]}]}, "prompts.0.points.0 is [5, 5, 1]; expected points as [[x, y], …]"),
        ({"prompts": [{"points": None}]}, "prompts.0.points is null; expected points as"),
        ({"prompts": [{"points": [[1, 1]] * 300}]}, "…; expected points as [[x, y], …] in pixels of the picture"),
        ({"prompts": [{"points": [[5, 5]], "labels": [7]}]}, "prompts.0.labels.0 is 7; expected 0 or 1"),
        ({"prompts": [{"points": [[5, 5]], "labels": 1}]}, "prompts.0.labels is 1; expected labels as [1, 0, …]"),
        ({"prompts": [{"box": [1, 2, 3]}]}, "prompts.0.box is [1, 2, 3]; expected box as [x0, y0, x1, y1]"),
        ({"prompts": [{"box": [1, 2, 3, 4], "multimask": "x"}]}, 'prompts.0.multimask is "x"; expected true or false'),
    ],
)  # fmt: skip
def test_fields_are_named_with_value_and_form(client, image, body, sentence):
    found = said(client.post(f"/images/{image}/masks", json=body), 422)
    assert sentence in found
    assert found.endswith("; /docs says how to ask")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"points_per_side": 1000}, "points_per_side is 1000; expected less than or equal to 64"),
        ({"points_per_side": 2.5}, "points_per_side is 2.5; expected a whole number"),
        ({"strategy": "foo"}, "strategy is \"foo\"; expected 'grid' or 'hierarchical'"),
        ({"strategie": "grid"}, "strategie is unknown; expected strategy, points_per_side,"),
    ],
)
def test_options_of_everything_are_named_with_their_bounds(client, image, body, sentence):
    assert sentence in said(client.post(f"/images/{image}/everything", json=body), 422)


def test_bodies_that_are_no_json(client, image):
    def post(content, **headers):
        return client.post(
            f"/images/{image}/masks", content=content, headers={"content-type": "application/json"} | headers
        )

    as_form = {"content-type": "application/x-www-form-urlencoded"}
    found = said(post(b'{"prompts": []}', **as_form), 422)
    assert (
        "came with application/x-www-form-urlencoded; expected JSON: add -H 'content-type: application/json'" in found
    )
    assert "the body is no JSON, at character 13: Expecting" in said(post(b'{"prompts": [}'), 422)
    assert "the body is empty" in said(post(b""), 422)
    assert "nested too deeply" in said(post(b'{"prompts":' + b"[" * 100_000), 400)
    assert "prompts.0" in said(post(rb'{"prompts": [{"a\n\ud800": "\ud800"}]}'), 422)
    assert r"\ud800" in said(post(rb'{"prompts": [{"box": "\ud800"}]}'), 422)


def test_every_list_of_the_prompts_has_a_form():
    lists = {
        name
        for model in (MasksBody, PromptBody)
        for name, field in model.model_fields.items()
        if re.search("list|tuple", str(field.annotation))
    }
    assert lists == {*unreadable.FORMS}


def test_pages_of_other_addresses_may_ask_only_where_that_was_said(client, image):
    assert "access-control-allow-origin" not in client.get("/health", headers={"origin": PAGE}).headers
    settings = ServeSettings(allow_origins=(PAGE, "https://example.org"), max_bytes=100_000)
    preflight = {
        "origin": PAGE,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }
    assert "access-control-allow-origin" not in client.options(f"/images/{image}/masks", headers=preflight).headers
    with TestClient(create_app(make_tiny(), settings)) as open_client:
        found = open_client.options("/images/x/masks", headers=preflight)
        assert found.status_code == 200
        assert found.headers["access-control-allow-origin"] == PAGE
        assert "content-type" in found.headers["access-control-allow-headers"].lower()
        for answer in (
            open_client.get("/health", headers={"origin": PAGE}),
            open_client.post("/images/x/masks", json=PROMPT, headers={"origin": PAGE}),
            open_client.post("/images", content=b"x" * 100_001, headers={"origin": PAGE}),
        ):
            assert answer.headers["access-control-allow-origin"] == PAGE, answer.text
        assert "access-control-allow-origin" not in open_client.get("/health", headers={"origin": "http://a.b"}).headers
    with TestClient(create_app(make_tiny(), ServeSettings(allow_origins=("*",)))) as open_client:
        assert open_client.get("/health", headers={"origin": PAGE}).headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("origin", ["localhost:3000", "http://localhost:3000/", "http://a/b", "", "http://a b", "**"])
def test_origins_that_are_none(origin):
    with pytest.raises(InputError, match="expected scheme, host and port alone"):
        ServeSettings(allow_origins=(origin,))


def test_the_command_passes_origins_on():
    from samlet.cli.parsers import build_parser

    words = ["serve", "m", "--allow-origin", PAGE, "--allow-origin", "*"]
    assert build_parser().parse_args(words).allow_origin == [PAGE, "*"]
    assert build_parser().parse_args(["serve", "m"]).allow_origin == []


def test_the_page_needs_no_network_and_tells_of_every_route_and_field(client):
    answer = client.get("/docs")
    assert answer.status_code == 200
    page = html.unescape(answer.text)
    assert "<script" not in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert "<model>" not in answer.text
    assert "&lt;model&gt;" in answer.text
    description = client.get("/openapi.json").json()
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            assert f"<h2>{method.upper()} {path}</h2>" in page
            assert operation["description"] in page
    left_out = {"HTTPValidationError", "ValidationError", "ErrorAnswer"}
    for name, schema in description["components"]["schemas"].items():
        if name in left_out:
            continue
        assert page.count(f"<b>{name}</b>") == 1
        for field in schema["properties"]:
            assert f"<td>{field}</td>" in page
    assert "curl --data-binary @photo.jpg http://testserver/images" in page
    assert client.get("/redoc").status_code == 404


def test_the_examples_of_the_page_are_answered(client, image):
    commands = [html.unescape(one) for one in re.findall(r"<pre>(.*?)</pre>", client.get("/docs").text)]
    body = re.search(r"-d '(.*)'", commands[1])[1]
    answer = client.post(
        f"/images/{image}/masks", content=body.replace("490", "290"), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 200, answer.text


def test_forms_need_no_package_of_their_own():
    code = "import sys, samlet.serve.forms; sys.exit('multipart' in sys.modules or 'python_multipart' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
