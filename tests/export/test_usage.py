"""What an export says about itself: enough to feed its graphs without samlet, and which prompt agreed least."""

from __future__ import annotations

import dataclasses
import json
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

import samlet
from samlet.data.images import read_image
from samlet.data.transforms import Resize
from samlet.evaluation.costs import cost
from samlet.export.config import ExportConfig
from samlet.export.pipeline import export_model
from samlet.export.probes import Answer, Probe, photographs
from samlet.export.usage import INTERPOLATIONS, _masks, _photograph, _prompts
from samlet.export.verification import compare_prompts, refusals
from samlet.runtimes.prompts import Clicks
from tests.conftest import PHOTOS, make_hiera, make_tiny

pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

SIDE = 64
"""Of the export; the model's own is another."""


@pytest.fixture(scope="module")
def sam():
    return make_tiny()


@pytest.fixture(scope="module")
def folder(sam, tmp_path_factory):
    path = tmp_path_factory.mktemp("usage") / "onnx"
    export_model(sam, path, "onnx", image_size=SIDE, layout="segment-anything", full_masks=True, photographs=2)
    return path


@pytest.fixture(scope="module")
def about(folder):
    return json.loads((folder / "export.json").read_text())


class Program:
    """What a person writes who has `export.json`, and no samlet."""

    def __init__(self, folder, about):
        self.said = about["usage"]
        self.graphs = {
            name: onnxruntime.InferenceSession(str(folder / graph["file"]))
            for name, graph in self.said["graphs"].items()
        }

    def run(self, graph, **values):
        ports = self.said["graphs"][graph]
        assert {port["name"] for port in ports["inputs"]} == set(values)
        for port in ports["inputs"]:
            value = values[port["name"]]
            assert value.dtype == port["dtype"]
            assert len(value.shape) == len(port["shape"]) == len(port["axes"])
            assert all(size in (None, given) for size, given in zip(port["shape"], value.shape, strict=True))
        names = [port["name"] for port in ports["outputs"]]
        return dict(zip(names, self.graphs[graph].run(names, values), strict=True))

    def set_image(self, image):
        about = self.said["photograph"]
        side = about["image_size"]
        self.size = image.shape[:2]
        self.resized = tuple(int(length * side / max(self.size) + 0.5) for length in self.size)
        small = Image.fromarray(image).resize(self.resized[::-1], Image.Resampling.BILINEAR)
        values = (np.asarray(small, np.float32) - about["mean"]) / about["std"]
        padded = np.zeros((1, 3, side, side), np.float32)
        padded[0, :, : self.resized[0], : self.resized[1]] = values.transpose(2, 0, 1)
        self.embedding = self.run("encoder", image=padded)["embedding"]

    def predict(self, points, labels, mask=None):
        side = self.said["photograph"]["image_size"]
        scale = np.array([self.resized[1] / self.size[1], self.resized[0] / self.size[0]])
        return self.run(
            "decoder",
            embedding=self.embedding,
            points=(np.array(points) * scale).astype(np.float32)[None],
            labels=np.array([labels]),
            mask=np.zeros((1, 1, side // 4, side // 4), np.float32) if mask is None else mask,
            has_mask=np.array([mask is not None], np.float32),
            original_size=np.array(self.size),
        )

    def masks(self, low_res):
        side = self.said["photograph"]["image_size"]
        whole = torch.nn.functional.interpolate(torch.from_numpy(low_res), (side, side), mode="bilinear")
        inside = whole[..., : self.resized[0], : self.resized[1]]
        full = torch.nn.functional.interpolate(inside, self.size, mode="bilinear")
        return full.numpy() > self.said["masks"]["threshold"]


def test_a_program_written_from_the_manifest_gets_the_masks_of_the_model(sam, folder, about):
    image = read_image(PHOTOS / "cat.jpg")
    program, predictor = Program(folder, about), samlet.Predictor(sam, SIDE)
    program.set_image(image)
    predictor.set_image(image)
    labels = {meaning.split(" (")[0]: int(label) for label, meaning in about["usage"]["prompts"]["labels"].items()}
    foreground, background = labels["a click on the object"], labels["a click beside the object"]
    asked = [
        ({"points": [[150.0, 120.0]]}, ([[150, 120]], [foreground])),
        (
            {"points": [[150.0, 120.0], [20.0, 30.0]], "labels": [1, 0]},
            ([[150, 120], [20, 30]], [foreground, background]),
        ),
        ({"boxes": [[40.0, 50.0, 300.0, 260.0]]}, ([[40, 50], [300, 260]], [2, 3])),
    ]
    for given, own in asked:
        expected = predictor.predict(**given, multimask=True)
        found = program.predict(*own)
        masks = program.masks(found["low_res"])[0, 1:]
        assert np.mean(masks == expected.masks.reshape(masks.shape)) > 0.999
        assert np.mean((found["masks"][0, 1:] > 0) == masks) > 0.999
        assert np.allclose(found["iou"][0, 1:], expected.iou.ravel(), atol=1e-3)
        assert 0.01 < masks.mean() < 0.99
    first = program.predict([[150, 120]], [foreground])
    best = 1 + int(first["iou"][0, 1:].argmax())
    again = program.predict([[150, 120]], [foreground], first["low_res"][:, [best]])
    assert not np.allclose(again["low_res"], first["low_res"])


def test_the_example_is_what_samlet_does(about):
    said = about["usage"]["photograph"]
    before, after = said["example"]["photograph"], said["example"]["input"]
    assert (after["height"], after["width"]) == (43, 64)
    assert after["click"] == [before["click"][0] * 64 / 1800, before["click"][1] * 43 / 1200]
    assert said["image_size"] == SIDE
    assert said["mean"] == about["model"]["pixel_mean"]


def test_the_other_decoder_is_described_too(about, folder):
    said = about["usage"]["graphs"]["segment_anything"]
    assert said["file"] == "segment_anything.onnx"
    named = {port["name"]: port for port in said["inputs"]}
    assert named["has_mask_input"]["dtype"] == "float32"
    assert "label -1" in named["point_labels"]["meaning"]
    assert all(port["axes"] and port["meaning"] for port in (*said["inputs"], *said["outputs"]))
    report = (folder / "report.md").read_text()
    for word in ("How to feed the graphs", "`mask_input`", "label -2", "bilinear with antialiasing", "123.675"):
        assert word in report


def test_multiply_accumulates_are_those_of_the_size(sam, folder, about):
    assert about["macs_image_size"] == SIDE
    counted = cost(sam, SIDE, measure=False)
    assert about["macs"]["encoder"]["macs_total"] == counted.encoder.macs_total
    assert counted.encoder.macs_total < cost(sam, measure=False).encoder.macs_total
    assert f"MACs at {SIDE} px" in (folder / "report.md").read_text()


def test_a_folder_of_before_is_read_as_well(folder, about, tmp_path):
    earlier = {name: value for name, value in about.items() if name not in ("usage", "macs_image_size")}
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "export.json").write_text(json.dumps(earlier))
    assert samlet.load(tmp_path).image_size == SIDE
    assert samlet.load(tmp_path).fingerprint() == samlet.load(folder).fingerprint()


def test_stretched_photographs_are_told_so():
    assert set(INTERPOLATIONS) == set(get_args(Resize))
    config = dataclasses.replace(make_hiera().config, resize="stretch_antialiased")
    said = _photograph(config, 128, (128,))
    assert said["padding"] is None
    assert not any("pad" in step for step in said["steps"])
    assert said["example"]["input"] == {"height": 128, "width": 128, "click": [64.0, 64.0]}
    assert _masks(config, 128)["steps"][0].endswith("the photograph's height and width, bilinear, align_corners false")
    labels = _prompts(config, 16, 4)
    assert "without a box" not in labels["labels"]["-1"]
    assert labels["fixed"].startswith("16 prompts of 4 points")


def test_padding_is_the_label_that_samlet_fills_up_with():
    filled = Clicks.of(torch.zeros(1, 1, 2), torch.ones(1, 1).long(), None, None).with_length(3)
    said = _prompts(make_tiny().config, 1, 3)["labels"]
    assert "no point" in said[str(int(filled.labels[0, -1]))]


def answer(*shares):
    """Two masks a prompt, whose upper part is set."""
    masks = np.zeros((len(shares), 2, 10, 10), bool)
    for prompt, pair in enumerate(shares):
        for output, rows in enumerate(pair):
            masks[prompt, output, :rows] = True
    return Answer(masks, np.ones((len(shares), 2), np.float32))


def test_the_worst_prompt_is_named():
    image = np.zeros((10, 10, 3), np.uint8)
    point, box = np.array([[3.0, 4.5]], np.float32), np.array([[1.0, 2.0, 8.0, 9.0]], np.float32)
    asked = [Probe(image, point, box, "a/cat.jpg"), Probe(image, point, box[:0], "dog.jpg")]
    source = [answer((10, 10), (10, 10)), answer((10, 10))]
    found = compare_prompts(asked, source, [answer((10, 9), (10, 4)), answer((8, 10))])
    assert found.worst == pytest.approx(0.4)
    assert dataclasses.asdict(found.worst_prompt) == {
        "photograph": "a/cat.jpg",
        "kind": "box",
        "prompt": (1.0, 2.0, 8.0, 9.0),
        "output": "best of several",
        "iou": found.worst,
    }
    (reason,) = refusals(found, ExportConfig(to="onnx"))
    assert "the worst is 0.4000: box 1,2,8,9 on a/cat.jpg, best of several mask" in reason
    found = compare_prompts(asked, source, [answer((10, 10), (10, 10)), answer((8, 10))])
    assert str(found.worst_prompt) == "point 3,4.5 on dog.jpg, single mask"


def test_photographs_keep_their_names(about, tmp_path):
    assert about["gate"]["worst_prompt"]["photograph"] in {one.name for one in photographs(None, 2, 0)}
    (tmp_path / "in").mkdir()
    Image.new("RGB", (20, 10)).save(tmp_path / "in" / "one.png")
    assert [one.name for one in photographs(tmp_path, 3, 0)] == ["in/one.png"]
