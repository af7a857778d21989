"""The decoder for many prompts on one image answers as the plain one does."""

from __future__ import annotations

import pytest
import torch

from samlet.models.decoders.sam.fast import FastMaskDecoder
from tests.conftest import make_hiera, make_tiny, make_vit

PROMPTS = {
    "clicks": {"points": [[[20.0, 30.0]], [[90.0, 5.0]], [[64.0, 127.0]]], "labels": [[1], [1], [0]]},
    "padded": {"points": [[[20.0, 30.0], [5.0, 6.0]], [[90.0, 5.0], [0.0, 0.0]]], "labels": [[1, 0], [1, -2]]},
    "boxes": {"boxes": [[3.0, 4.0, 60.0, 70.0], [10.0, 90.0, 127.0, 120.0]]},
}


@pytest.fixture(params=[make_vit, make_tiny, make_hiera], ids=["vit", "tiny_vit", "hiera"])
def sam(request):
    return request.param().eval()


def decoded(sam, name, dtype=None):
    given = {key: torch.tensor(value) for key, value in PROMPTS[name].items()}
    with torch.inference_mode():
        embedding = sam.encode(torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(1)))
        decoder = FastMaskDecoder(sam, embedding, dtype)
        return decoder, decoder.transform(**given), sam.decode(embedding, **given)


@pytest.mark.parametrize("name", PROMPTS)
def test_masks_and_iou_are_the_plain_decoders(sam, name):
    decoder, answer, plain = decoded(sam, name)
    torch.testing.assert_close(answer.iou, plain.iou, atol=1e-4, rtol=1e-4)
    scale = plain.low_res.std()
    for prompt, low_res in enumerate(plain.low_res):
        with torch.inference_mode():
            masks = decoder.masks(answer, prompt, [0, 1, 2, 3])
            window = decoder.masks(answer, prompt, [2, 1], (1, 4, 2, 7))
        assert (masks - low_res).abs().max() < 1e-3 * scale
        torch.testing.assert_close(window, masks[[2, 1], 4:16, 8:28], atol=1e-4, rtol=1e-4)


def test_samples_are_values_of_the_masks(sam):
    decoder, answer, plain = decoded(sam, "clicks")
    with torch.inference_mode():
        samples = decoder.samples(answer)
        part = decoder.samples(answer, 3, 5)
    assert (samples - plain.low_res[..., 2::4, 2::4]).abs().max() < 1e-3 * plain.low_res.std()
    torch.testing.assert_close(part, samples[..., :3, :5], atol=1e-4, rtol=1e-4)


def test_bfloat16_features_stay_near(sam):
    decoder, answer, plain = decoded(sam, "clicks", torch.bfloat16)
    with torch.inference_mode():
        masks = decoder.masks(answer, 0, [0, 1, 2, 3])
    assert masks.dtype == torch.float32
    assert (masks - plain.low_res[0]).abs().mean() < 0.05 * plain.low_res.std()
