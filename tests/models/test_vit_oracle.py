"""The ViT family against transformers' SamModel, with random weights: two blocks of it, and ViT-B whole."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import transformers

import samlet
from samlet.models import Sam, SamConfig, ViTConfig
from samlet.zoo import find
from tests.conftest import randomise

TOLERANCE = 1e-4


def two_blocks() -> SamConfig:
    """A windowed and a global block as in ViT-B, but narrow and for small images; windows need padding."""
    encoder = ViTConfig.uniform(embed_dim=96, depth=2, num_heads=3, global_blocks=(1,), image_size=256)
    return dataclasses.replace(find("sam_vit_b").sam_config(), encoder=encoder)


@pytest.fixture(scope="module", params=["two blocks", pytest.param("ViT-B", marks=pytest.mark.slow)])
def models(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Sam, torch.nn.Module, torch.Tensor]:
    """Ours, theirs, and an image; the weights went segment-anything → samlet → Hugging Face → samlet on the way.

    Two blocks compute in double precision, where nothing but a difference of the models is left to see.
    """
    folder: Path = tmp_path_factory.mktemp("vit_b")
    source = Sam(two_blocks() if request.param == "two blocks" else find("sam_vit_b").sam_config()).eval()
    randomise(source)
    torch.save(source.state_dict(), folder / "sam_vit_b.pth")
    first = samlet.load(folder / "sam_vit_b.pth")
    (folder / "sam_vit_b.pth").unlink()
    samlet.save(first, folder / "hf", format="hugging-face")
    ours = samlet.load(folder / "hf")
    for name, value in source.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    theirs = transformers.SamModel.from_pretrained(folder / "hf").eval()
    (folder / "hf" / "model.safetensors").unlink()
    image = torch.randn(1, 3, ours.image_size, ours.image_size, generator=torch.Generator().manual_seed(1))
    if request.param == "two blocks":
        return ours.double(), theirs.double(), image.double()
    return ours, theirs, image


@pytest.fixture(scope="module")
def embeddings(models: tuple[Sam, torch.nn.Module, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    ours, theirs, image = models
    with torch.no_grad():
        return ours.encode(image), theirs.get_image_embeddings(image)


def test_image_embedding(embeddings):
    ours, theirs = embeddings
    assert ours.std() > 0.1
    assert (ours - theirs).abs().max() < TOLERANCE


# Pixels of an image of 1024 px.
PROMPTS = {
    "one point": {"points": [[[500.0, 375.0]]], "labels": [[1]]},
    "two points": {"points": [[[500.0, 375.0], [80.0, 900.0]]], "labels": [[1, 0]]},
    "batched points": {"points": [[[500.0, 375.0]], [[10.0, 20.0]], [[1000.0, 3.0]]], "labels": [[1], [1], [0]]},
    "box": {"boxes": [[100.0, 200.0, 700.0, 650.0]]},
    "batched boxes": {"boxes": [[100.0, 200.0, 700.0, 650.0], [0.0, 0.0, 50.0, 1000.0]]},
    "box and point": {
        "points": [[[300.0, 300.0]]],
        "labels": [[0]],
        "boxes": [[100.0, 200.0, 700.0, 650.0]],
    },
    "point and mask": {"points": [[[500.0, 375.0]]], "labels": [[1]], "masks": True},
}


@pytest.mark.parametrize("name", PROMPTS)
def test_masks_and_iou(models, embeddings, name):
    ours, theirs, _ = models
    prompt = dict(PROMPTS[name])
    side = ours.image_size // 4
    noise = torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(2))
    mask = noise.to(ours.dtype) if prompt.pop("masks", None) else None
    tensors = {key: torch.tensor(value) for key, value in prompt.items()}
    for key in tensors.keys() - {"labels"}:
        tensors[key] *= ours.image_size / 1024
    with torch.no_grad():
        answer = ours.decode(embeddings[1], **tensors, masks=mask)  # the same for both: encoders are compared above
        given = {f"input_{key}": value[None] for key, value in tensors.items()}
        if mask is not None:
            given["input_masks"] = mask
        for multimask, wanted in ((True, slice(1, None)), (False, slice(0, 1))):
            oracle = theirs(image_embeddings=embeddings[1], multimask_output=multimask, **given)
            assert (answer.low_res[:, wanted] - oracle.pred_masks[0]).abs().max() < TOLERANCE
            assert (answer.iou[:, wanted] - oracle.iou_scores[0]).abs().max() < TOLERANCE


def test_batched_prompts_get_what_they_get_alone(models, embeddings):
    ours, _, _ = models
    points = torch.tensor([[[500.0, 375.0], [80.0, 900.0], [40.0, 4.0]], [[10.0, 20.0], [0.0, 0.0], [0.0, 0.0]]])
    points *= ours.image_size / 1024
    labels = torch.tensor([[1, 0, 1], [1, -2, -2]])
    with torch.no_grad():
        together = ours.decode(embeddings[0], points, labels)
        alone = ours.decode(embeddings[0], points[1:, :1], labels[1:, :1])
    assert (together.low_res[1] - alone.low_res[0]).abs().max() < TOLERANCE
    assert (together.iou[1] - alone.iou[0]).abs().max() < TOLERANCE
