"""What `samlet export --to transformers.js` writes, loaded by transformers.js itself in node and in Chromium."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import samlet
from samlet.cli import main
from samlet.data.masks import mask_iou
from samlet.export.pipeline import export_model
from tests.conftest import PHOTOS, make_hiera
from tests.web.node import chromium, node, packages, run

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
PARTS = ("vision_encoder", "prompt_encoder_mask_decoder")
DTYPES = ("fp32", "fp16", "q8")
SUFFIXES = {"fp32": "", "fp16": "_fp16", "q8": "_quantized"}
PLACES = ("node", "chromium")
VARIANTS = [
    pytest.param(
        place, dtype, id=f"{dtype}-{place}", marks=[pytest.mark.long] if place == "chromium" and dtype != "q8" else []
    )
    for place in PLACES
    for dtype in DTYPES
]
SIDE = 512


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mobile_sam, written by the command."""
    out = tmp_path_factory.mktemp("js") / "mobile"
    command = ["export", "mobile_sam", "--to", "transformers.js", "--image-size", str(SIDE), "--out", str(out)]
    assert main(command) == 0
    return out


@pytest.fixture(scope="module")
def sam_2(tmp_path_factory: pytest.TempPathFactory) -> tuple[samlet.Sam, Path]:
    """A small SAM 2 with random weights."""
    model, folder = make_hiera(), tmp_path_factory.mktemp("js2") / "out"
    export_model(model, folder, "transformers.js", photographs=1)
    return model, folder


def square(folder: Path, side: int) -> Path:
    """A photograph of the size of the encoder's input: nothing is resampled, by neither program."""
    with Image.open(PHOTOS / "dogs.jpg") as picture:
        picture.convert("RGB").crop((0, 120, 427, 547)).resize((side, side)).save(folder / "square.png")
    return folder / "square.png"


def asked(place: str, repository: Path, dtype: str, picture: Path, prompts: list[dict]) -> list[dict[str, Any]]:
    """What transformers.js answers."""
    if not (HERE / "node_modules" / "@huggingface" / "transformers").is_dir():
        pytest.skip("tests/tools/node_modules is missing; `make web-tools` installs it")
    script, settings = "transformers_js.mjs", dict(os.environ)
    if place == "chromium":
        packages()
        script, settings = "transformers_js_browser.mjs", {**settings, "CHROMIUM": chromium()}
    command = [node(), script, str(repository), dtype, str(picture), *(json.dumps(one) for one in prompts)]
    return json.loads(run(command, cwd=HERE, env=settings, timeout=3600).stdout)


def overlaps(answers: list[dict[str, Any]], expected: list[Any]) -> tuple[list[float], list[float]]:
    """IoU of each best mask with the model's, and how far the predictions of it lie apart."""
    found, apart = [], []
    for answer, wanted in zip(answers, expected, strict=True):
        for prompt, runs in enumerate(answer["masks"]):
            mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(answer["size"])
            found.append(mask_iou(mask, wanted.masks[prompt, 0]))
            apart.append(abs(max(answer["iou"][prompt]) - float(wanted.iou[prompt, 0])))
    return found, apart


def test_the_command_writes_the_repository(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {path.relative_to(repository).as_posix() for path in repository.rglob("*") if path.is_file()}
    graphs = {f"onnx/{part}{suffix}.onnx" for part in PARTS for suffix in SUFFIXES.values()}
    assert names == {"config.json", "preprocessor_config.json", *graphs}
    sizes = {
        dtype: sum((repository / "onnx" / f"{part}{suffix}.onnx").stat().st_size for part in PARTS)
        for dtype, suffix in SUFFIXES.items()
    }
    assert sizes["fp16"] < 0.6 * sizes["fp32"]
    assert sizes["q8"] < 0.35 * sizes["fp32"]
    capsys.readouterr()
    again = ["export", "mobile_sam", "--to", "transformers.js", "--image-size", str(SIDE), "--out", str(repository)]
    assert main(again) == 2
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(("place", "dtype"), VARIANTS)
def test_sam_model(place: str, dtype: str, repository: Path, tmp_path: Path) -> None:
    predictor = samlet.Predictor(samlet.load("mobile_sam"), SIDE)
    points, boxes = [[[214, 250]], [[305, 415]], [[400, 200]]], [[160, 180, 360, 500], [20, 20, 200, 200]]
    prompts: list[dict] = [{"points": points}, {"boxes": boxes}]
    for picture in (PHOTOS / "dogs.jpg", square(tmp_path, SIDE)):
        predictor.set_image(picture)
        answers = asked(place, repository, dtype, picture, prompts)
        assert {answer["kind"] for answer in answers} == {"SamModel"}
        expected = [predictor.predict(points=np.array(points)).best(), predictor.predict(boxes=boxes).best()]
        found, apart = overlaps(answers, expected)
        # transformers.js resamples the photograph in another way than samlet; where it need not, little is left.
        assert np.mean(found) > (0.99 if picture.suffix == ".png" and dtype != "q8" else 0.97), found
        assert min(found) > 0.9, found
        assert max(apart) < 0.03, apart


@pytest.mark.parametrize(("place", "dtype"), VARIANTS)
def test_sam_2_model(place: str, dtype: str, sam_2: tuple[samlet.Sam, Path], tmp_path: Path) -> None:
    model, folder = sam_2
    side = model.image_size
    picture = square(tmp_path, side)
    predictor = samlet.Predictor(model)
    predictor.set_image(picture)
    points, boxes = [[[60, 50]], [[90, 90]]], [[30, 20, 100, 110], [10, 10, 60, 60]]
    answers = asked(place, folder, dtype, picture, [{"points": points}, {"boxes": boxes}])
    assert {answer["kind"] for answer in answers} == {"Sam2Model"}
    expected = [predictor.predict(points=np.array(points)).best(), predictor.predict(boxes=boxes).best()]
    found, apart = overlaps(answers, expected)
    assert np.mean(found) > (0.99 if dtype != "q8" else 0.97), found
    assert max(apart) < 0.03, apart
