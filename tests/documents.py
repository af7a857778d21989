"""README and docs/: their commands and snippets, and a folder in which they run at a token size."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import samlet
from samlet.data.images import read_image
from samlet.data.masks import encode_rle
from samlet.models import DecoderConfig, Sam
from tests.conftest import PHOTOS, ROOT, make_tiny, make_vit, randomise

DOCUMENTS = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]


def text(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str, language: str) -> list[str]:
    """What stands in the fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", text(document), flags=re.DOTALL)


def commands(document: str) -> list[list[str]]:
    """The `samlet` commands of the bash blocks, as lists of words, the program's name left out."""
    lines = "\n".join(blocks(document, "bash")).replace("\\\n", " ").splitlines()
    found = [shlex.split(line, comments=True) for line in lines if line.startswith("samlet ")]
    return [words[1:] for words in found]


def links(document: str) -> Iterator[tuple[str, str]]:
    """Target and anchor of every relative link and picture."""
    without_code = re.sub(r"```.*?```|`[^`\n]*`", "", text(document), flags=re.DOTALL)
    yield from re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)", without_code)


def anchors(path: Path) -> set[str]:
    """The anchors of a Markdown file's headings, as GitHub and mkdocs make them."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
        plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-"))
    return found


def make_world(folder: Path) -> Path:
    """A folder with what the documents talk about: small photographs, masks of them, a small model."""
    for place in ("photos", "examples/photos"):
        (folder / place).mkdir(parents=True)
        for name in ("dogs.jpg", "cat.jpg", "bee.jpg", "coffee.jpg"):
            shutil.copy(PHOTOS / name, folder / place)
    shutil.copy(PHOTOS / "dogs.jpg", folder / "photo.jpg")
    samlet.save(make_tiny(), folder / "model")
    samlet.save(_regular(), folder / "my_sam.pth", format="segment-anything")
    _labels(folder / "labelled")
    return folder


def provide(words: list[str], folder: Path) -> None:
    """Make what a command reads and no earlier command of the page has written."""
    for word, previous in zip(words, ["", *words], strict=False):
        path = folder / word
        if previous in ("--out", "--table") or word.startswith("-") or path.exists():
            continue
        if word in MODELS:
            shutil.copytree(folder / "model", path)
        elif word in ANNOTATIONS:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(folder / "labelled", path)
        elif word in COCO_FILES:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(_coco(folder / "labelled")))
            for images in ("images", "val2017"):
                if not (path.parent / images).exists():
                    shutil.copytree(folder / "labelled", path.parent / images)
        elif word == "scan.tif":
            pages = [Image.fromarray(np.full((120, 160), 400 * k, np.uint16)) for k in (1, 2)]
            pages[0].save(path, save_all=True, append_images=pages[1:])


MODELS = ("small", "half", "small8", "better")
ANNOTATIONS = ("path/to/sa1b",)
COCO_FILES = ("path/to/coco.json", "path/to/instances.json", "instances.json", "coco.json")


def _coco(folder: Path) -> dict[str, Any]:
    """The same masks as one COCO file."""
    images, annotations = [], []
    for path in sorted(folder.glob("*.json")):
        images.append({"id": len(images) + 1, "file_name": f"{path.stem}.jpg", "width": 96, "height": 64})
        for entry in json.loads(path.read_text())["annotations"]:
            more = {"id": len(annotations) + 1, "image_id": len(images), "category_id": 1, "iscrowd": 0}
            annotations.append(entry | more)
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}


def _regular() -> Sam:
    """A small ViT whose widths a file of segment-anything can hold."""
    small = make_vit().config
    widths = {"num_heads": (4, 4, 4), "qk_dims": (16,) * 3, "v_dims": (16,) * 3, "mlp_dims": (128,) * 3}
    encoder = dataclasses.replace(small.encoder, embed_dim=64, **widths)
    sam = Sam(dataclasses.replace(small, encoder=encoder, decoder=DecoderConfig()))
    randomise(sam)
    return sam.eval()


def _labels(folder: Path) -> None:
    """Photographs with two masks each, in SA-1B's layout."""
    folder.mkdir()
    for name in ("cat", "bee", "coffee"):
        image = Image.fromarray(read_image(PHOTOS / f"{name}.jpg")).resize((96, 64))
        image.save(folder / f"{name}.jpg")
        masks = [np.zeros((64, 96), bool) for _ in range(2)]
        masks[0][8:30, 10:40] = masks[1][20:56, 50:90] = True
        entries = [{"segmentation": encode_rle(mask)} for mask in masks]
        (folder / f"{name}.json").write_text(json.dumps({"annotations": entries}))


_SMALLER = {
    "--steps": "2",
    "--image-size": "64",
    "--size": "64",
    "--points-per-side": "4",
    "--limit": "2",
    "--epochs": "1",
    "--pred-iou-thresh": "0",
    "--stability-score-thresh": "0",
}
_UNSURE = ("--pred-iou-thresh", "0", "--stability-score-thresh", "0")
"""A model with random weights is sure of nothing."""
_MORE = {
    "slim": ("--scoring-images", "2", "--recovery-images", "2", "--micro-batch", "1"),
    "distill": ("--prompts", "4", "--rounds", "1"),
    "label": ("--points-per-side", "4", "--workers", "1", *_UNSURE),
    "quantize": ("--candidates", "4", "--calibration-images", "2"),
    "export": ("--least-agreement", "0", "--force"),
    "compare": ("--no-measure",),
}
"""What is added where a command does not say it itself."""
_SIZED = ("slim", "distill", "quantize", "label")


def smaller(words: list[str], model: str = "model") -> list[str]:
    """The same command at a token size: `mobile_sam` is a small model, and budgets of time are two steps."""
    command = words[0]
    replaced: list[str] = []
    given = iter(words)
    for word in given:
        if word == "--minutes":
            next(given)
            if "--steps" not in replaced:
                replaced += ["--steps", "2"]
        elif word in _SMALLER:
            next(given)
            replaced += [word, _SMALLER[word]]
        else:
            replaced.append(model if word in ("mobile_sam", "samlet_s", "sam_vit_b", "sam_vit_h") else word)
    if command == "segment" and "--model" not in replaced:
        replaced += ["--model", model]
    if command == "distill":
        replaced += _UNSURE
    if "--then" in replaced:
        replaced[replaced.index("--then") + 1] += f" {' '.join(_UNSURE)}"
    if command == "export" and "--int8" in replaced:
        replaced += ["--calibration-images", "2"]
    if command in _SIZED and "--image-size" not in replaced:
        replaced += ["--image-size", "64"]
    if command == "slim" and {"--macs", "--parameters", "--latency"} & {*replaced}:
        replaced += ["--widths", "even"]  # a search takes most of a minute, and has tests of its own
    more = _MORE.get(command, ())
    for name, value in zip(more, (*more[1:], "")[: len(more)], strict=True):
        if name.startswith("--") and name not in replaced:
            replaced += [name] if value.startswith("--") or not value else [name, value]
    return replaced
