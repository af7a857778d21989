"""The decoder in segment-anything's own layout, asked as programs written for its files ask."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import samlet
from samlet.data.images import read_image
from samlet.data.transforms import preprocess
from samlet.export.config import ExportConfig
from samlet.export.pipeline import export_model
from tests.conftest import PHOTOS, make_hiera, make_tiny


@pytest.mark.slow
def test_a_program_written_for_the_published_files_takes_ours(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    sam = make_tiny()
    made = export_model(sam, tmp_path / "out", "onnx", layout="segment-anything", photographs=1)
    assert made.figures.agreement > 0.99
    assert "segment_anything.onnx" in made.files
    session = runtime.InferenceSession(str(tmp_path / "out" / "segment_anything.onnx"))
    names = ["image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input", "orig_im_size"]
    assert [one.name for one in session.get_inputs()] == names
    assert {one.type for one in session.get_inputs()} == {"tensor(float)"}
    assert [one.name for one in session.get_outputs()] == ["masks", "iou_predictions", "low_res_masks"]

    image = read_image(PHOTOS / "cat.jpg")
    height, width = image.shape[:2]
    pixels, _ = preprocess(image, 128, *sam.preprocessing)
    with torch.inference_mode():
        embedding = sam.encode(pixels[None]).numpy()
    scale = 128 / max(height, width)
    predictor = samlet.Predictor(sam)
    predictor.set_image(image)
    for box, clicks, labels in (
        (None, [[100, 90]], [1]),
        (None, [[100, 90], [30, 40]], [1, 0]),
        ([20, 30, 200, 220], [], []),
        ([20, 30, 200, 220], [[100, 90]], [1]),
    ):
        ending = ([[0, 0]], [-1]) if box is None else ([box[:2], box[2:]], [2, 3])
        given = {
            "image_embeddings": embedding,
            "point_coords": np.asarray([*clicks, *ending[0]], np.float32)[None] * np.float32(scale),
            "point_labels": np.asarray([*labels, *ending[1]], np.float32)[None],
            "mask_input": np.zeros((1, 1, 32, 32), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
            "orig_im_size": np.asarray([height, width], np.float32),
        }
        masks, iou, low_res = session.run(None, given)
        assert masks.shape == (1, 4, height, width)
        asked = {"points": clicks or None, "labels": labels or None, "boxes": box}
        for multimask, outputs in ((True, slice(1, 4)), (False, slice(0, 1))):
            expected = predictor.predict(**asked, multimask=multimask)
            # the published resize rounds each side by itself
            assert np.allclose(iou[0, outputs], expected.iou[0], atol=2e-2)
            assert ((masks[0, outputs] > 0) == expected.masks[0]).mean() > 0.995
        assert low_res.shape == (1, 4, 32, 32)


def test_what_the_layout_has_no_place_for():
    with pytest.raises(samlet.InputError, match="layout segment-anything is for onnx"):
        ExportConfig(to="openvino", layout="segment-anything")
    with pytest.raises(samlet.InputError, match="layout 'x' is unknown"):
        ExportConfig(to="onnx", layout="x")


def test_sam_2_has_no_published_layout(tmp_path):
    with pytest.raises(samlet.InputError, match="SAM's alone"):
        export_model(make_hiera(), tmp_path / "out", "onnx", layout="segment-anything")
