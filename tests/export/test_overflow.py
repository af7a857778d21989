"""Whether activations fit into float16: on real photographs, and where they do not."""

from __future__ import annotations

import pytest
import torch

from samlet.data.images import read_image
from samlet.data.transforms import preprocess
from samlet.errors import SamletError
from samlet.export.overflow import check_range, largest_outputs
from samlet.export.pipeline import export_model
from samlet.zoo import load_weights
from tests.conftest import PHOTOS, make_tiny, make_vit


@torch.no_grad()
def test_mobile_sam_fits_on_real_photographs():
    sam = load_weights("mobile_sam")
    for name, expected in (("cat", 221.6), ("coffee", 229.7)):
        pixels, _ = preprocess(read_image(PHOTOS / f"{name}.jpg"), 256, *sam.preprocessing)
        prompt = torch.tensor([[[100.0, 90.0]]]), torch.ones(1, 1, dtype=torch.long)
        largest = check_range(sam, lambda p=pixels, q=prompt: sam.decode(sam.encode(p[None]), *q))
        assert largest.layer == "image_encoder.neck.2"
        assert largest.value == pytest.approx(expected, rel=0.01)


def overflowing():
    """The residual stream leaves float16 in the second block."""
    sam = make_vit()
    with torch.no_grad():
        sam.image_encoder.blocks[1].mlp.lin2.bias.fill_(1e5)
    return sam


@torch.no_grad()
def test_the_layer_is_named():
    sam = overflowing()
    with pytest.raises(SamletError, match=r"image_encoder\.blocks\.1\.mlp\.lin2 reaches 1e\+05"):
        check_range(sam, lambda: sam.encode(torch.zeros(1, 3, 64, 64)))


@torch.no_grad()
def test_not_a_number_is_more_than_any_number():
    sam = make_tiny()
    sam.image_encoder.patch_embed.conv1.bias.fill_(float("nan"))
    found = largest_outputs(sam, lambda: sam.encode(torch.zeros(1, 3, 32, 32)))
    assert all(entry.value == float("inf") for entry in found)


def test_nothing_is_written(tmp_path):
    with pytest.raises(SamletError, match="float16 ends at 65504"):
        export_model(overflowing(), tmp_path / "half", "onnx", precision="float16", photographs=1)
    assert not list(tmp_path.iterdir())
