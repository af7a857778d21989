"""SAM 2 against transformers' `Sam2Model`, with random weights and with recovered ones; its cost; its slimming."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from transformers.models.sam2.modeling_sam2 import Sam2MaskDecoder

import samlet
from samlet.checkpoints.sam2 import sam2_config
from samlet.data.images import read_image
from samlet.data.transforms import preprocess
from samlet.errors import InputError
from samlet.evaluation.costs import count_encoder_macs
from samlet.models import Sam, maps_of, single_masks
from samlet.models.decoders.sam2 import stable_single
from samlet.models.encoders.hiera.config import PUBLISHED, HieraConfig
from samlet.slimming.surgery import cut_encoder, with_encoder
from tests.conftest import flat, make_hiera, randomise

TOLERANCE = 1e-4
WEIGHTS = Path("weights/sam2_hiera_tiny.fp16.safetensors")


def narrow() -> Sam:
    """Hiera-T's shape with a decoder and widths so small that files are written at once; no published one."""
    encoder = HieraConfig.published(
        embed_dim=16, num_heads=1, depths=(1, 2, 7, 2), global_blocks=(5, 7, 9), image_size=128
    )
    sam = Sam(sam2_config(encoder, object_score=True)).eval()
    randomise(sam)
    return sam


def whole(name: str, image_size: int) -> Sam:
    """A published architecture for images of a size, with random weights."""
    if name == "narrow":
        return narrow()
    encoder = dataclasses.replace(PUBLISHED[name], image_size=image_size)
    sam = Sam(sam2_config(encoder, object_score=True)).eval()
    randomise(sam)
    return sam


def in_transformers(sam: Sam, folder: Path) -> torch.nn.Module:
    samlet.save(sam, folder, format="hugging-face")
    return transformers.Sam2Model.from_pretrained(folder).eval()


def case(name: str, image_size: int, *, slow: bool = True):
    marks = [pytest.mark.slow] if slow else []
    return pytest.param((name, image_size), id=f"{name} at {image_size}", marks=marks)


CASES = [
    case("narrow", 128, slow=False),
    case("tiny", 128),
    case("small", 96),
    case("base_plus", 96),
    case("large", 96),
    case("tiny", 512),
    case("tiny", 1024),
]


@pytest.fixture(scope="module", params=CASES)
def models(request, tmp_path_factory) -> tuple[Sam, torch.nn.Module, torch.Tensor]:
    """Ours, theirs, which were made from our folder, and two images."""
    ours = whole(*request.param)
    theirs = in_transformers(ours, tmp_path_factory.mktemp("sam2") / "hf")
    side = ours.image_size
    return ours, theirs, torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def embeddings(models):
    ours, theirs, images = models
    with torch.no_grad():
        return ours.encode(images), theirs.get_image_embeddings(images)


def test_every_map_of_the_embedding(embeddings):
    for ours, theirs in zip(maps_of(embeddings[0]), reversed(embeddings[1]), strict=True):
        assert ours.std() > 0.05
        assert (ours - theirs).abs().max() < TOLERANCE


# Shares of the side of the image.
PROMPTS = {
    "one point": {"points": [[[0.5, 0.4]]], "labels": [[1]]},
    "two points": {"points": [[[0.5, 0.4], [0.1, 0.9]]], "labels": [[1, 0]]},
    "batched points": {"points": [[[0.5, 0.4]], [[0.01, 0.02]], [[0.97, 0.003]]], "labels": [[1], [1], [0]]},
    "box": {"boxes": [[0.1, 0.2, 0.7, 0.65]]},
    "boxes": {"boxes": [[0.1, 0.2, 0.7, 0.65], [0.5, 0.5, 0.9, 0.95]]},
    "box and point": {"boxes": [[0.1, 0.2, 0.7, 0.65]], "points": [[[0.5, 0.4]]], "labels": [[0]]},
    "point and mask": {"points": [[[0.5, 0.4]]], "labels": [[1]], "masks": True},
}


@pytest.mark.parametrize("name", PROMPTS)
def test_masks_and_iou(models, embeddings, name):
    ours, theirs, _ = models
    prompt, side = dict(PROMPTS[name]), ours.image_size
    noise = 5 * torch.randn(1, 1, side // 4, side // 4, generator=torch.Generator().manual_seed(2))
    mask = noise if prompt.pop("masks", None) else None
    tensors = {key: torch.tensor(value) for key, value in prompt.items()}
    for key in tensors.keys() - {"labels"}:
        tensors[key] *= side
    one = [m[:1] for m in embeddings[1]]
    with torch.no_grad():
        answer = ours.decode(embeddings[0][:1], **tensors, masks=mask)
        given = {f"input_{key}": value[None] for key, value in tensors.items()}
        if mask is not None:
            given["input_masks"] = mask
        several = theirs(image_embeddings=one, multimask_output=True, **given)
        single = theirs(image_embeddings=one, multimask_output=False, **given)
        chosen, iou = single_masks(ours, answer.low_res, answer.iou)
    assert answer.low_res.std() > 0.05
    assert (answer.low_res[:, 1:] - several.pred_masks[0]).abs().max() < TOLERANCE
    assert (answer.iou[:, 1:] - several.iou_scores[0]).abs().max() < TOLERANCE
    assert (chosen - single.pred_masks[0, :, 0]).abs().max() < TOLERANCE
    assert (iou - single.iou_scores[0, :, 0]).abs().max() < TOLERANCE
    assert (answer.object_score - several.object_score_logits[0, :, 0]).abs().max() < TOLERANCE


def test_many_images_answer_as_each_does(models, embeddings):
    ours, _, images = models
    points = torch.tensor([[[0.5, 0.4]], [[0.2, 0.7]]]) * ours.image_size
    labels = torch.ones(2, 1, dtype=torch.long)
    with torch.no_grad():
        both = ours.decode(embeddings[0], points, labels)
        each = [ours.decode(ours.encode(images[i : i + 1]), points[i : i + 1], labels[:1]) for i in range(2)]
    assert (both.low_res - torch.cat([one.low_res for one in each])).abs().max() < TOLERANCE


def test_a_single_mask_that_is_not_stable_gives_way():
    """The same choice as theirs, prompt by prompt; both sides of it occur."""
    config = transformers.Sam2Config().mask_decoder_config
    rule = Sam2MaskDecoder(config)._dynamic_multimask_via_stability
    generator = torch.Generator().manual_seed(0)
    scale = torch.logspace(-2, 2, 40)[:, None, None, None]  # the larger the logits, the fewer lie near the threshold
    low_res, iou = scale * torch.randn(40, 4, 16, 16, generator=generator), torch.rand(40, 4, generator=generator)
    low_res[7, 0], low_res[8, 0] = -5.0, 5.0  # empty, and everything
    masks, scores = rule(low_res[None], iou[None])
    chosen = stable_single(low_res, iou)
    each = torch.arange(40)
    assert torch.equal(low_res[each, chosen], masks[0, :, 0])
    assert torch.equal(iou[each, chosen], scores[0, :, 0])
    assert 5 < int((chosen == 0).sum()) < 35
    assert chosen[7] == chosen[8] == 0


@pytest.mark.parametrize(
    ("name", "modules", "total"),
    [("tiny", 103.5, 146.2), ("small", 134, 180), ("base_plus", 265, 323), ("large", 810, 911)],
)
def test_cost_at_1024(name, modules, total):
    with torch.device("meta"):
        sam = Sam(sam2_config(PUBLISHED[name], object_score=True))
    macs = count_encoder_macs(sam)
    assert macs.macs_modules / 1e9 == pytest.approx(modules, rel=0.01)
    assert macs.macs_total / 1e9 == pytest.approx(total, rel=0.01)


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> tuple[Sam, Path]:
    """Hiera-T with random weights, and a published file of it."""
    sam, path = whole("tiny", 1024), tmp_path_factory.mktemp("published") / "sam2_hiera_tiny.pt"
    samlet.save(sam, path, format="sam2")
    return sam, path


def test_published_and_hugging_face_files_bit_for_bit(published, tmp_path):
    sam, path = published
    first = samlet.load(path)
    samlet.save(first, tmp_path / "hf", format="hugging-face")
    second = samlet.load(tmp_path / "hf")
    samlet.save(second, tmp_path / "again.safetensors", format="sam2")
    third = samlet.load(tmp_path / "again.safetensors")
    for made in (first, second, third):
        assert made.config == sam.config
        for name, value in sam.state_dict().items():
            assert torch.equal(made.state_dict()[name], value), name


def test_parts_for_videos_are_left_out_and_named(published, tmp_path, capsys):
    """As published files have them."""
    sam, path = published
    tensors = torch.load(path)
    video = {
        "maskmem_tpos_enc": torch.zeros(7, 1, 1, 64),
        "no_mem_pos_enc": torch.zeros(1, 1, 256),
        "no_obj_ptr": torch.zeros(1, 256),
        "memory_attention.norm.weight": torch.ones(256),
        "memory_encoder.out_proj.weight": torch.zeros(64, 256, 1, 1),
        "obj_ptr_proj.layers.0.weight": torch.zeros(256, 256),
        "mask_downsample.weight": torch.zeros(1, 1, 4, 4),
    }
    torch.save({"model": {**tensors, **video}}, tmp_path / "sam2_hiera_tiny.pt")
    made = samlet.load(tmp_path / "sam2_hiera_tiny.pt")
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    assert "memory_attention" in said
    assert "obj_ptr_proj" in said
    assert torch.equal(made.state_dict()["mask_decoder.iou_token.weight"], sam.mask_decoder.iou_token.weight)


def test_a_video_folder_of_transformers(tmp_path, capsys):
    config = transformers.Sam2VideoConfig()
    config.vision_config.backbone_config.image_size = [128, 128]
    config.vision_config.backbone_feature_sizes = [[32, 32], [16, 16], [8, 8]]
    config.prompt_encoder_config.image_size = 128
    torch.manual_seed(0)
    theirs = transformers.Sam2VideoModel(config).eval()
    theirs.save_pretrained(tmp_path / "video")
    capsys.readouterr()
    ours = samlet.load(tmp_path / "video")
    said = capsys.readouterr().err.strip()
    assert "memory_attention" in said
    assert len(said.splitlines()) == 1
    image = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs.get_image_features(image, return_dict=True)
        maps = [
            m.permute(1, 2, 0).view(1, -1, side, side)
            for m, side in zip(expected.fpn_hidden_states, (32, 16, 8), strict=True)
        ]
        found = maps_of(ours.encode(image))
    no_memory = theirs.no_memory_embedding.view(1, -1, 1, 1)
    for own, other in zip(found, (maps[2] + no_memory, maps[1], maps[0]), strict=True):
        assert (own - other).abs().max() < TOLERANCE


REFUSALS = {
    "no published width": (lambda t: {**t, "image_encoder.trunk.pos_embed": torch.zeros(1, 80, 7, 7)}, "of width 80"),
    "a block too many": (
        lambda t: {**t, **{k.replace("blocks.11.", "blocks.12."): v for k, v in t.items() if "blocks.11." in k}},
        "1-2-7-3 blocks",
    ),
    "a layer missing": (lambda t: {k: v for k, v in t.items() if "neck.convs.2" not in k}, "neck.lateral.1"),
    "a foreign layer": (lambda t: {**t, "classifier.weight": torch.zeros(3)}, "classifier.weight"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_files_that_are_no_published_sam2_are_refused_in_a_line(published, tmp_path, name):
    change, expected = REFUSALS[name]
    torch.save(change(torch.load(published[1])), tmp_path / "bad.pt")
    with pytest.raises(InputError, match=expected) as caught:
        samlet.load(tmp_path / "bad.pt")
    assert len(str(caught.value).splitlines()) == 1


def test_a_config_that_its_file_does_not_match_is_refused_in_a_line(tmp_path):
    samlet.save(narrow(), tmp_path / "hf", format="hugging-face")
    about = (tmp_path / "hf" / "config.json").read_text()
    (tmp_path / "hf" / "config.json").write_text(
        about.replace('"blocks_per_stage": [\n        1,', '"blocks_per_stage": [\n        2,')
    )
    with pytest.raises(InputError, match="missing") as caught:
        samlet.load(tmp_path / "hf")
    assert len(str(caught.value).splitlines()) == 1


def test_a_sam_under_the_name_of_a_sam2_is_told(tmp_path, capsys):
    from tests.checkpoints.test_formats import plain_vit

    samlet.save(plain_vit(), tmp_path / "sam2_hiera_tiny.pt", format="segment-anything")
    samlet.load(tmp_path / "sam2_hiera_tiny.pt")
    said = capsys.readouterr().err.strip()
    assert "no SAM 2" in said
    assert len(said.splitlines()) == 1


def test_irregular_widths_reload_bit_equal_in_a_fresh_process(tmp_path):
    sam = make_hiera()
    groups = sam.image_encoder.channel_groups()
    kept = {g.name: torch.arange(max(g.divisor, g.size // 2 // g.divisor * g.divisor)) for g in groups[3:9]}
    cut = with_encoder(sam, cut_encoder(sam.image_encoder, kept))
    samlet.save(cut, tmp_path / "m")
    code = (
        "import torch, samlet, sys; m = samlet.load(sys.argv[1]); "
        "x = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)); "
        "torch.save(list(m.encode(x).maps), sys.argv[2])"
    )
    run = [sys.executable, "-c", code, str(tmp_path / "m"), str(tmp_path / "maps.pt")]
    subprocess.run(run, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    torch.set_num_threads(1)
    x = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = maps_of(cut.encode(x))
    for own, other in zip(found, torch.load(tmp_path / "maps.pt"), strict=True):
        assert torch.equal(own, other)
    with pytest.raises(InputError, match="irregular"):
        samlet.save(cut, tmp_path / "m.pt", format="sam2")


def test_segments_lead_to_the_embedding():
    encoder = make_hiera().image_encoder
    image = torch.randn(1, 3, 128, 96, generator=torch.Generator().manual_seed(3))
    state = image
    with torch.no_grad():
        for segment in encoder.segments():
            state = segment.run(state)
        assert torch.equal(flat(state), flat(encoder(image)))
    inside = [name for segment in encoder.segments() for name in segment.modules]
    assert {name.split(".")[0] for name, _ in encoder.named_parameters()} == {name.split(".")[0] for name in inside}


def test_in_strips_as_in_whole():
    """With grad mode on, layers are computed whole."""
    encoder = make_hiera().image_encoder
    image = torch.randn(1, 3, 256, 192, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        strips = flat(encoder(image))
    torch.testing.assert_close(strips, flat(encoder(image)).detach(), atol=1e-5, rtol=1e-5)


def test_sides_are_multiples_of_32():
    sam = make_hiera()
    with pytest.raises(InputError, match="multiple of 32"):
        sam.check_image_size(528)
    with pytest.raises(InputError, match="multiples of 32"):
        sam.encode(torch.zeros(1, 3, 48, 64))


BAD = {
    "no halves": ({"window_sizes": (7, 4, 14, 7)}, "even"),
    "stages": ({"embed_dims": (96, 192, 384)}, "4 entries"),
    "an opening": ({"global_blocks": (3,)}, "open a stage"),
    "beyond": ({"global_blocks": (12,)}, "below 12"),
    "blocks": ({"mlp_dims": ((384,), (768,), (1536,) * 7, (3072,) * 2)}, "as many entries a stage"),
    "size": ({"image_size": 528}, "multiple of 32"),
    "no width": ({"scale_dim": 0}, "whole number"),
}


@pytest.mark.parametrize("name", BAD)
def test_configs_that_cannot_be(name):
    change, expected = BAD[name]
    with pytest.raises(InputError, match=expected):
        HieraConfig(**change)


@pytest.mark.slow
def test_recovered_weights_equal_transformers(tmp_path, shared):
    sam = samlet.load(shared / WEIGHTS)
    theirs = in_transformers(sam, tmp_path / "hf")
    pixels, _ = preprocess(read_image(shared / "data" / "photos" / "truck.jpg"), 1024, *sam.preprocessing)
    with torch.no_grad():
        for own, other in zip(
            maps_of(sam.encode(pixels[None])), reversed(theirs.get_image_embeddings(pixels[None])), strict=True
        ):
            assert float((own - other).norm() / other.norm()) < 1e-3
