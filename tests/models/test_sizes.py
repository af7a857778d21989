"""Any image size that the patch grid allows; padding that changes nothing; two ways of attending that agree."""

from __future__ import annotations

import pytest
import torch

import samlet
from tests.conftest import CHANNELS, make_vit


@pytest.mark.parametrize("size", [(128, 128), (64, 64), (80, 112), (176, 48), (16, 16)])
def test_every_allowed_size_encodes_and_decodes(small_sam, size):
    with torch.no_grad():
        embedding = small_sam.encode(torch.randn(1, 3, *size))
        answer = small_sam.decode(embedding, torch.tensor([[[3.0, 4.0]]]), torch.tensor([[1]]))
    assert embedding.shape == (1, CHANNELS, size[0] // 16, size[1] // 16)
    assert answer.low_res.shape == (1, 4, size[0] // 4, size[1] // 4)
    assert torch.isfinite(answer.low_res).all()


def test_other_sizes_are_refused_with_the_shape(small_sam):
    with pytest.raises(samlet.InputError, match=r"\(1, 3, 100, 128\).*multiples of 16"):
        small_sam.encode(torch.zeros(1, 3, 100, 128))


def test_position_tables_are_those_of_the_trained_size():
    sam = make_vit()
    encoder = sam.image_encoder
    assert encoder._positions(8, 8) is encoder.pos_embed
    assert encoder._positions(4, 6).shape == (1, 4, 6, 48)


def test_attention_with_and_without_gradients_agrees():
    encoder = make_vit().image_encoder
    image = torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        chunked = encoder(image)
    folded = encoder(image)
    assert folded.requires_grad
    assert torch.allclose(chunked, folded, atol=1e-5)


def test_batch_of_images_equals_each_alone(small_sam):
    images = torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = small_sam.encode(images)
        for i in range(3):
            assert torch.allclose(small_sam.encode(images[i : i + 1])[0], together[i], atol=1e-5)


def test_padding_changes_no_answer(small_sam):
    with torch.no_grad():
        embedding = small_sam.encode(torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)))
        points = torch.tensor([[[20.0, 30.0]]])
        alone = small_sam.decode(embedding, points, torch.tensor([[1]]))
        for extra in (1, 5):
            padded = torch.cat([points, torch.full((1, extra, 2), 77.0)], dim=1)
            labels = torch.tensor([[1] + [-2] * extra])
            answer = small_sam.decode(embedding, padded, labels)
            assert torch.allclose(answer.low_res, alone.low_res, atol=1e-4)
            assert torch.allclose(answer.iou, alone.iou, atol=1e-4)


def test_sams_own_filler_point_does_count(small_sam):
    with torch.no_grad():
        embedding = small_sam.encode(torch.randn(1, 3, 128, 128))
        points = torch.tensor([[[20.0, 30.0], [0.0, 0.0]]])
        with_filler = small_sam.decode(embedding, points, torch.tensor([[1, -1]]))
        alone = small_sam.decode(embedding, points[:, :1], torch.tensor([[1]]))
    assert not torch.allclose(with_filler.low_res, alone.low_res, atol=1e-5)
