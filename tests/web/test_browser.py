"""The page in Chromium: what a person does on it, and its masks beside those of PyTorch."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from scipy import ndimage

import samlet
from samlet.data.bundled import CLICKS, bundled_photographs
from samlet.export.pipeline import export_model
from samlet.models import PromptableModel
from samlet.runtimes import ExportedSam
from samlet.web import PageServer, make_page
from tests.conftest import make_hiera
from tests.web.node import HERE, chromium, node, packages, run
from tests.web.small import small_sam

pytestmark = pytest.mark.slow

SIZE = 512
LEAST = {"float32": 0.99, "int8": 0.97}
PATIENCE_S = 4 * 3600  # machines may be slow and busy


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small default model as graphs, from which pages are made quickly."""
    packages()
    chromium()
    folder = tmp_path_factory.mktemp("web") / "onnx"
    export_model(samlet.load("samlet_s"), folder, "onnx", image_size=SIZE)  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="module")
def page(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_page(ExportedSam(exported), tmp_path_factory.mktemp("web") / "page", name="samlet_s").folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page whose encoder a GPU in software runs within seconds."""
    folder = tmp_path_factory.mktemp("web")
    export_model(small_sam(), folder / "onnx", "onnx", image_size=64, photographs=1, force=True)
    return make_page(ExportedSam(folder / "onnx"), folder / "page", size=64, weights="float32").folder


@pytest.fixture(scope="module")
def addresses(page: Path, small: Path) -> Iterator[dict[str, str]]:
    """Of the page on a server that isolates it and on one that does not, and where the small page is."""
    with PageServer(page, 0) as isolated, PageServer(page, 0, isolated=False) as plain, PageServer(small, 0) as other:
        for server in (isolated, plain, other):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        urls = {"SAMLET_PAGE": isolated.url, "SAMLET_PLAIN": plain.url, "SAMLET_SMALL": other.url}
        yield {**urls, "SAMLET_SMALL_FOLDER": str(small)}
        for server in (isolated, plain, other):
            server.shutdown()


@pytest.fixture(scope="module")
def saved(addresses: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the tests in the browser saved; they must pass first."""
    out = tmp_path_factory.mktemp("saved")
    settings = {**addresses, "SAMLET_OUT": str(out)}
    tests = str(HERE / "browser" / "page.test.mjs")
    run([node(), "--test", tests], env={**os.environ, **settings, "CHROMIUM": chromium()}, timeout=PATIENCE_S)
    return out


def test_people_can_use_it(saved: Path) -> None:
    assert (saved / "phone.png").stat().st_size > 10_000


def test_files_are_read_by_those_they_are_for(saved: Path) -> None:
    photograph = next(path for path in bundled_photographs() if path.name == "dogs.jpg")
    with Image.open(photograph) as picture:
        size = picture.size
    coco = COCO(str(saved / "dogs.coco.json"))
    entries = coco.loadAnns(coco.getAnnIds())
    masks = [coco.annToMask(entry).astype(bool) for entry in entries]
    assert [mask.shape[::-1] for mask in masks] == [size, size]
    assert masks[0][250, 214]
    for entry, mask in zip(entries, masks, strict=True):
        assert entry["area"] == mask.sum()
        x, y, w, h = entry["bbox"]
        assert mask[y : y + h, x : x + w].sum() == mask.sum()

    with Image.open(saved / "dogs.dog.png") as picture:
        cut = np.array(picture)
    x, y, w, h = entries[0]["bbox"]
    assert cut.shape == (h, w, 4)
    assert np.array_equal(cut[..., 3] > 0, masks[0][y : y + h, x : x + w])

    labels = json.loads((saved / "dogs.json").read_text())
    assert (labels["imageWidth"], labels["imageHeight"]) == size
    for shape in labels["shapes"]:
        if shape["shape_type"] == "polygon":
            codes = coco_mask.frPyObjects([np.array(shape["points"], float).ravel().tolist()], size[1], size[0])
            drawn = coco_mask.decode(codes)[..., 0].astype(bool)
            own = masks[shape["group_id"] - 1]
            assert not (drawn & ~ndimage.binary_dilation(own, np.ones((3, 3)))).any()  # a pixel from the edge at most
    assert (saved / "dogs.svg").read_text().count("<path ") == 2


def ious(model: PromptableModel, folder: Path, size: int, names: tuple[str, ...]) -> list[float]:
    """IoU of a page's masks, asked in the browser, with the model's, of clicks, boxes and both together."""
    photographs = [path for path in bundled_photographs() if path.name in names]
    expected, asked = [], []
    predictor = samlet.Predictor(model, size)
    for path in photographs:
        predictor.set_image(path)
        prompts: list[dict] = []
        for x, y in CLICKS[path.name]:
            click = {"x": x, "y": y, "positive": True}
            box = [max(0.0, x - 90.0), max(0.0, y - 80.0), x + 70.0, y + 60.0]
            expected += [
                predictor.predict([[[x, y]]], multimask=True).best().masks[0, 0],
                predictor.predict(boxes=[box], multimask=True).best().masks[0, 0],
                predictor.predict([[[x, y]]], boxes=[box], multimask=False).masks[0, 0],
            ]
            prompts += [
                {"box": None, "clicks": [click]},
                {"box": box, "clicks": []},
                {"box": box, "clicks": [click]},
            ]
        asked.append({"path": str(path), "prompts": prompts})
    with PageServer(folder, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        question = json.dumps({"url": server.url, "photographs": asked})
        script = [node(), str(HERE / "browser" / "answers.mjs")]
        settings = {**os.environ, "CHROMIUM": chromium()}
        told = json.loads(run(script, input=question, env=settings, timeout=PATIENCE_S).stdout)
        server.shutdown()
    found = [coco_mask.decode(one["rle"]).astype(bool) for each in told["photographs"] for one in each["answers"]]
    assert any(mask.any() for mask in expected)
    return [(a & b).sum() / (a | b).sum() if (a | b).any() else 1.0 for a, b in zip(found, expected, strict=True)]


@pytest.mark.parametrize("weights", [pytest.param("float32", marks=pytest.mark.long), "int8"])
def test_masks_are_those_of_pytorch(exported: Path, tmp_path: Path, weights: str) -> None:
    made = make_page(ExportedSam(exported), tmp_path / "page", weights=weights)
    model = samlet.load("samlet_s")
    found = ious(model, made.folder, SIZE, ("dogs.jpg", "cat.jpg", "coffee.jpg", "tulips.jpg"))
    assert np.mean(found) >= LEAST[weights], found


@pytest.mark.long
def test_sam_2_too(tmp_path: Path) -> None:
    packages()
    model = make_hiera()
    size = model.image_size
    export_model(model, tmp_path / "onnx", "onnx", image_size=size, photographs=1, force=True)
    made = make_page(ExportedSam(tmp_path / "onnx"), tmp_path / "page", size=size, weights="float32")
    found = ious(model, made.folder, size, ("cat.jpg", "dogs.jpg"))
    assert np.mean(found) >= LEAST["float32"], found
