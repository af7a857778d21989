"""The service: answers as the library does, together and alone; what is refused, with which words; Label Studio."""

from __future__ import annotations

import asyncio
import base64
import io
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import samlet
from samlet.cli import main
from samlet.data.masks import decode_rle
from samlet.errors import InputError
from samlet.serve.settings import ServeSettings
from tests.conftest import PHOTOS, make_hiera, make_tiny
from tests.serve.brush import unpacked

pytest.importorskip("fastapi", reason="fastapi is not installed: pip install 'samlet[serve]'")
from fastapi.testclient import TestClient

from samlet.serve.app import create_app
from samlet.serve.brush import encode_brush
from samlet.serve.errors import RequestError
from samlet.serve.label_studio import fetch, read_context, read_interface
from samlet.serve.model_thread import Prompt

JSON = {"content-type": "application/json"}
CAT = (PHOTOS / "cat.jpg").read_bytes()
INTERFACE = """<View><!-- a brush --><Image name="image" value="$photo" zoom="true"/>
<BrushLabels name="brush" toName="image"><Label value="cat"/><Label value="dog"/></BrushLabels>
<KeyPointLabels name="key" toName="image" smart="true"><Label value="cat"/></KeyPointLabels></View>"""


@pytest.fixture(scope="module", params=["tiny", "hiera"])
def sam(request):
    return make_tiny() if request.param == "tiny" else make_hiera()


@pytest.fixture
def client(sam):
    with TestClient(create_app(sam, ServeSettings(max_pixels=1_000_000, max_prompts=8), "model")) as made:
        yield made


@pytest.fixture
def image(client):
    answer = client.post("/images", content=CAT)
    assert answer.status_code == 200, answer.text
    return answer.json()["image"]


def said(answer, status):
    """The one sentence of an error."""
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"detail"}
    assert "\n" not in answer.json()["detail"]
    return answer.json()["detail"]


def test_prompts_are_answered_as_the_predictor_does(sam, client, image):
    prompts = [
        {"points": [[200, 150]]},
        {"points": [[200, 150], [10, 10]], "labels": [1, 0]},
        {"box": [50, 50, 300, 250]},
        {"points": [[150, 150]], "box": [50, 50, 300, 250]},
        {"points": [[200, 150]], "multimask": False},
    ]
    answer = client.post(f"/images/{image}/masks", json={"prompts": prompts})
    assert answer.status_code == 200, answer.text
    predictor = samlet.Predictor(sam)
    predictor.set_image(PHOTOS / "cat.jpg")
    for number, (prompt, mask) in enumerate(zip(prompts, answer.json()["masks"], strict=True)):
        given = {"points": prompt.get("points"), "labels": prompt.get("labels"), "boxes": prompt.get("box")}
        expected = predictor.predict(**given, multimask=number in (0, 2)).best()
        assert (decode_rle(mask["segmentation"]) == expected.masks[0, 0]).all()
        assert mask["predicted_iou"] == pytest.approx(float(expected.iou[0, 0]), abs=1e-5)
        assert mask["area"] == expected.masks[0, 0].sum()


def test_everything_is_what_the_generator_finds(sam, client, image):
    options = {"strategy": "grid", "points_per_side": 4, "pred_iou_thresh": 0, "stability_score_thresh": 0}
    answer = client.post(f"/images/{image}/everything", json=options)
    assert answer.status_code == 200, answer.text
    expected = samlet.MaskGenerator(sam, **options)(PHOTOS / "cat.jpg")
    assert [mask["segmentation"] for mask in answer.json()["masks"]] == [mask["segmentation"] for mask in expected]
    assert client.post(f"/images/{image}/everything").status_code == 200


def test_concurrent_prompts_are_decoded_together_and_faults_stay_alone(sam):
    with TestClient(create_app(sam)) as client:
        image = client.post("/images", content=CAT).json()["image"]
        model_thread = client.app.state.model_thread
        hold = threading.Event()
        blocked = model_thread._submit(_job(model_thread, hold.wait), model_thread._first)
        bodies = [[Prompt(((20.0 + 9 * i, 150.0),), (1,))] for i in range(6)]
        bodies.insert(3, [Prompt(((9999.0, 150.0),), (1,))])
        futures = [model_thread.masks(image, body) for body in bodies]
        hold.set()
        blocked.result(10)
        with pytest.raises(InputError, match="9999,150 lies outside"):
            futures[3].result(30)
        answers = [future.result(30)[0] for i, future in enumerate(futures) if i != 3]
        assert model_thread.batches == 0  # the fault undid the batch
        hold = threading.Event()
        blocked = model_thread._submit(_job(model_thread, hold.wait), model_thread._first)
        futures = [model_thread.masks(image, body) for i, body in enumerate(bodies) if i != 3]
        hold.set()
        together = [future.result(30)[0] for future in futures]
        assert (model_thread.batches, model_thread.batched) == (1, 6)
        for alone, joint in zip(answers, together, strict=True):
            assert alone["area"] == pytest.approx(joint["area"], rel=0.01)
            assert alone["predicted_iou"] == pytest.approx(joint["predicted_iou"], abs=1e-4)


def _job(model_thread, run):
    from samlet.serve.model_thread import _Job

    return _Job(run, model_thread._deadline())


def test_many_clients_at_once_get_their_own_answers(client, image):
    def ask(x):
        answer = client.post(f"/images/{image}/masks", json={"prompts": [{"points": [[x, 100]]}]})
        return answer.status_code, answer.json()["masks"][0]["area"]

    alone = [ask(x) for x in range(5, 405, 50)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(5, 405, 50))) == alone


def bomb(side):
    """A PNG of many pixels and few bytes."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 100_000, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_pictures_that_cannot_be_taken(client):
    def post(content):
        return client.post("/images", content=content)

    assert "400 x 4000" not in said(post(b""), 400)
    assert "expected JPEG" in said(post(b"no picture at all"), 415)
    assert "is PDF" in said(post(b"%PDF-1.7 and so on"), 415)
    assert "damaged" in said(post(CAT[:2000]), 400)
    assert "100000 x 100000" in said(post(bomb(100_000)), 413) or "unpacks" in said(post(bomb(100_000)), 413)
    hundred = io.BytesIO()
    Image.new("L", (10_000, 10_000)).save(hundred, "png")
    assert "10000 x 10000 pixels; expected at most 1000000" in said(post(hundred.getvalue()), 413)
    assert client.get("/health").json()["images"] == 0


def test_bodies_that_are_too_large_are_not_read(sam):
    with TestClient(create_app(sam, ServeSettings(max_bytes=10_000))) as client:
        assert "10000 bytes" in said(client.post("/images", content=b"x" * 10_001), 413)
        parts = (b"x" * 4000 for _ in range(100))
        assert "10000 bytes" in said(client.post("/images", content=parts), 413)


def test_a_body_that_does_not_come_is_given_up(sam):
    """Asked of the application itself: the test client sends bodies at once."""
    app, sent = create_app(sam, ServeSettings(timeout_s=0.1)), []
    messages = [{"type": "http.request", "body": b"x", "more_body": True}]

    async def receive():
        if messages:
            return messages.pop()
        return await asyncio.sleep(60)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/images",
        "headers": [],
        "query_string": b"",
        "http_version": "1.1",
    }
    scope |= {"scheme": "http", "raw_path": b"/images", "root_path": "", "client": ("127.0.0.1", 1), "server": None}
    try:
        asyncio.run(app(scope, receive, send))
    finally:
        app.state.model_thread.close()
    assert sent[0]["status"] == 408
    assert b"not there after 0.1 s" in sent[1]["body"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"prompts": []}, 422, "prompts is empty"),
        ({"prompts": [{}]}, 422, "prompt 0 has neither points nor a box"),
        ({"prompts": [{"points": [[9000, 5]]}]}, 400, "point 9000,5 lies outside"),
        ({"prompts": [{"box": [5, 5, 4, 4]}]}, 400, "box 5,5,4,4 is empty"),
        ({"prompts": [{"points": [[5, 5]], "labels": [1, 0]}]}, 422, "2 labels were given for 1 points"),
        ({"prompts": [{"points": [[5, 5]], "labels": [7]}]}, 422, "prompts.0.labels.0 is 7"),
        ({"prompts": [{"points": [["a", 5]]}]}, 422, 'prompts.0.points.0.0 is "a"; expected a number'),
        ({"prompts": [{"point": [[5, 5]]}]}, 422, "prompts.0.point is"),
        ({"prompts": [{"points": [[5, 5]]}] * 9}, 422, "9 prompts were sent; expected at most 8"),
        ({}, 422, "prompts is"),
    ],
)
def test_prompts_that_cannot_be_answered(body, status, words, client, image):
    assert words in said(client.post(f"/images/{image}/masks", json=body), status)


def test_other_wrong_requests(client, image):
    assert "no picture 'nothing' is held" in said(
        client.post("/images/nothing/masks", json={"prompts": [{"points": [[5, 5]]}]}), 404
    )
    assert "no picture" in said(client.post("/images/nothing/everything"), 404)
    assert "is" in said(client.post(f"/images/{image}/masks", content=b"{broken", headers=JSON), 422)
    assert "points_per_side is 1000" in said(
        client.post(f"/images/{image}/everything", json={"points_per_side": 1000}), 422
    )
    infinite = b'{"prompts": [{"points": [[Infinity, 5]]}]}'
    assert "finite" in said(client.post(f"/images/{image}/masks", content=infinite, headers=JSON), 422)


def test_only_the_last_pictures_are_held(sam):
    with TestClient(create_app(sam, ServeSettings(cache_images=2))) as client:
        names = []
        for shade in range(3):
            picture = io.BytesIO()
            Image.new("RGB", (40, 30), (shade * 50, 0, 0)).save(picture, "png")
            names.append(client.post("/images", content=picture.getvalue()).json()["image"])
        assert len(set(names)) == 3
        health = client.get("/health").json()
        assert (health["status"], health["images"], health["waiting"]) == ("UP", 2, 0)
        assert health["image_bytes"] > 0
        body = {"prompts": [{"points": [[5, 5]]}]}
        assert [client.post(f"/images/{name}/masks", json=body).status_code for name in names] == [404, 200, 200]
    with TestClient(create_app(sam, ServeSettings(cache_bytes=1))) as client:
        for name in ("cat.jpg", "bee.jpg"):
            assert client.post("/images", content=(PHOTOS / name).read_bytes()).status_code == 200
        assert client.get("/health").json()["images"] == 1


def test_what_takes_too_long_or_waits_too_long_is_given_up(sam):
    with TestClient(create_app(sam, ServeSettings(timeout_s=0.2, max_waiting=2))) as client:
        model_thread, hold = client.app.state.model_thread, threading.Event()
        blocked = model_thread._submit(_job(model_thread, hold.wait), model_thread._first)
        try:
            assert "within 0.2 s" in said(client.post("/images", content=CAT), 503)
            assert model_thread.waiting == 0  # what was given up waits no more
            late = [model_thread._submit(_job(model_thread, hold.wait), model_thread._later) for _ in range(2)]
            assert "wait already" in said(client.post("/images", content=CAT), 503)
            time.sleep(0.25)
        finally:
            hold.set()
        assert blocked.result(10)
        with pytest.raises(RequestError, match="the time for this request is over"):
            late[0].result(10)


def test_the_description_names_every_route_and_error(client):
    description = client.get("/openapi.json").json()
    paths = {"/images", "/images/{image}/masks", "/images/{image}/everything", "/health", "/setup", "/predict"}
    assert set(description["paths"]) == paths
    assert {"400", "404", "413", "415", "422", "503"} <= set(description["paths"]["/images"]["post"]["responses"])
    assert "image/jpeg" in description["paths"]["/images"]["post"]["requestBody"]["content"]


@pytest.mark.parametrize("size", [(1, 1), (37, 23), (300, 200)])
def test_brush_code_is_read_back(size):
    noise = np.random.default_rng(0).random(size) < 0.3
    for mask in (noise, np.zeros(size, bool), np.ones(size, bool)):
        values = unpacked(encode_brush(mask)).reshape(*size, 4)
        assert (values == np.where(mask, 255, 0)[..., None]).all()


def task(content=CAT):
    return {"id": 1, "data": {"photo": "data:image/jpeg;base64," + base64.b64encode(content).decode()}}


def click(x, y, positive=1):
    value = {"x": x, "y": y, "width": 0.3, "keypointlabels": ["dog"]}
    return {"type": "keypointlabels", "value": value, "is_positive": positive, "to_name": "image", "from_name": "key"}


def test_label_studio_gets_a_brush_stroke(sam, client):
    assert client.post("/setup", json={"project": "1", "schema": INTERFACE}).json() == {"model_version": "model"}
    body = {"tasks": [task()], "label_config": INTERFACE, "params": {"context": {"result": [click(50, 50)]}}}
    answer = client.post("/predict", json=body)
    assert answer.status_code == 200, answer.text
    (prediction,) = answer.json()["results"]
    (stroke,) = prediction["result"]
    assert (stroke["from_name"], stroke["to_name"], stroke["type"]) == ("brush", "image", "brushlabels")
    assert (stroke["original_width"], stroke["original_height"]) == (451, 300)
    assert (stroke["value"]["format"], stroke["value"]["brushlabels"]) == ("rle", ["dog"])
    predictor = samlet.Predictor(sam)
    predictor.set_image(PHOTOS / "cat.jpg")
    expected = predictor.predict(points=[[225.5, 150]]).best().masks[0, 0]
    assert (unpacked(stroke["value"]["rle"]).reshape(300, 451, 4)[..., 0] == np.where(expected, 255, 0)).all()
    assert prediction["model_version"] == "model"
    empty = client.post("/predict", json={"tasks": [task()], "label_config": INTERFACE})
    assert empty.json()["results"] == [{"result": [], "score": 0.0, "model_version": "model"}]


def test_label_studio_s_context_is_percent():
    box = {"type": "rectanglelabels", "value": {"x": 10, "y": 20, "width": 50, "height": 40, "rectanglelabels": ["b"]}}
    prompt, label = read_context({"result": [click(50, 25), click(0, 0, 0), box]}, (200, 400))
    assert prompt == Prompt(((200, 50), (0, 0)), (1, 0), (40, 40, 240, 120), False)
    assert label == "b"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 422, "tasks is missing"),
        ({"tasks": [task()] * 17}, 422, "17 tasks"),
        ({"tasks": [task()], "label_config": "<View"}, 422, "no XML"),
        ({"tasks": [task()], "label_config": "<View><Image name='i' value='$p'/></View>"}, 422, "no BrushLabels"),
        ({"tasks": [task()], "label_config": "<!DOCTYPE a [<!ENTITY b 'c'>]><View/>"}, 422, "entities"),
        ({"tasks": [task(b"nothing")], "label_config": INTERFACE}, 415, "expected JPEG"),
        ({"tasks": [{"data": {}}], "label_config": INTERFACE}, 422, "expected its address"),
        ({"tasks": [{"data": {"photo": "http://a/b.jpg"}}], "label_config": INTERFACE}, 422, "--label-studio"),
        ({"tasks": [{"data": {"photo": "file:///etc/hosts"}}], "label_config": INTERFACE}, 422, "--label-studio"),
        ({"tasks": [{"data": {"photo": "data:,abc"}}], "label_config": INTERFACE}, 422, "begins with 'data:'"),
    ],
)
def test_what_label_studio_cannot_mean(body, status, words, client):
    body = {"params": {"context": {"result": [click(50, 50)]}}, **body}
    assert words in said(client.post("/predict", json=body), status)


def test_contexts_without_a_prompt(client):
    body = {"tasks": [task()], "label_config": INTERFACE}
    for result, words in (
        ([{"type": "brushlabels", "value": {"x": 1, "y": 1}}], "no keypoint"),
        ([{}], "cannot be read"),
    ):
        answer = client.post("/predict", json={**body, "params": {"context": {"result": result}}})
        assert words in said(answer, 422)
    assert read_interface(INTERFACE).key == "photo"


def test_pictures_are_fetched_from_one_label_studio_alone():
    settings = ServeSettings(label_studio="http://127.0.0.1:9")
    for address, words in (
        ("http://127.0.0.2:9/x.jpg", "expected one at 127.0.0.1:9"),
        ("//elsewhere/x.jpg", "expected one at"),
        ("file:///etc/hosts", "expected one at"),
        ("/data/x.jpg", "cannot be fetched"),
    ):
        with pytest.raises(RequestError, match=words):
            fetch(address, settings)


def test_settings_and_addresses_that_cannot_be(tmp_path, capsys):
    with pytest.raises(InputError, match="max_bytes is 0"):
        ServeSettings(max_bytes=0)
    with pytest.raises(InputError, match="begins with http"):
        ServeSettings(label_studio="localhost:8080")
    samlet.save(make_tiny(), tmp_path / "m")
    assert main(["serve", str(tmp_path / "m"), "--port", "99999"]) == 2
    assert "expected 0" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert main(["serve", str(tmp_path / "m"), "--port", port]) == 2
    err = capsys.readouterr().err
    assert f"127.0.0.1:{port} cannot be listened on" in err
    assert err.count("\n") == 1
