"""Label files as a reader that samlet did not write sees them: supervision's, of COCO and of YOLO."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from samlet.data.sources import Entry
from samlet.labels import FORMATS, LabelSettings
from samlet.labels.rings import joined, region_rings
from tests.labels.test_labels import blobs, found

sv = pytest.importorskip("supervision", reason="supervision is not installed")


@pytest.mark.parametrize("name", ["coco", "yolo"])
def test_supervision_reads(name, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    ring = np.zeros((240, 320), bool)
    ring[40:200, 60:260] = True
    ring[80:120, 100:180] = False
    masks = [ring, np.kron(blobs(1), np.ones((4, 4))) > 0]
    for stem in ("a", "b"):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)).save(photos / f"{stem}.png")
    out = tmp_path / "out"
    out.mkdir()
    writer = FORMATS[name].writer(out, LabelSettings(class_name="fish", tolerance=0.0))
    for stem in ("a", "b"):
        writer.write(Entry(f"{stem}.png", photos / f"{stem}.png"), found(*masks))
    writer.finish()
    if name == "coco":
        read = sv.DetectionDataset.from_coco(str(photos), str(out / "instances.json"), force_masks=True)
    else:
        read = sv.DetectionDataset.from_yolo(
            str(out / "images"), str(out / "labels"), str(out / "data.yaml"), force_masks=True
        )
    assert "fish" in read.classes
    assert len(read) == 2
    for _, _, detections in read:
        assert len(detections) == len(masks)
        for mask, expected in zip(detections.mask, masks, strict=True):
            # Readers that paint the line of a polygon add its pixels to the mask, and no others.
            assert mask[expected].mean() > 0.999
            assert not (mask & ~expected & ~near_line(expected)).any()


def near_line(mask):
    """Pixels within a pixel and a half of the polygon that a mask is written as."""
    line = joined([ring for rings in region_rings(mask) for ring in rings])
    ends = np.roll(line, -1, 0)
    steps = np.linspace(0, 1, 1 + 2 * int(np.abs(ends - line).max()))[:, None, None]
    x, y = np.moveaxis((line + steps * (ends - line)).reshape(-1, 2), 1, 0)
    drawn = np.zeros(mask.shape, bool)
    drawn[np.floor(y).astype(int).clip(0, len(mask) - 1), np.floor(x).astype(int).clip(0, mask.shape[1] - 1)] = True
    return ndimage.binary_dilation(drawn, np.ones((3, 3)))
