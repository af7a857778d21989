"""SAM 2 is a model like any other: prompts, everything mode, evaluation, slimming, distilling, rounding, exporting."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import samlet
from samlet.data.datasets import open_dataset
from samlet.data.images import find_images
from samlet.evaluation.compare import Contestant, in_turns
from samlet.evaluation.costs import cost
from samlet.export.pipeline import export_model
from samlet.inference.everything.candidates import CropMasks
from samlet.inference.everything.options import EverythingOptions
from samlet.inference.sam_segmenter import SamSegmenter
from samlet.models import Maps, joined, maps_of, single_masks, stacked
from samlet.quantization.config import QuantConfig
from samlet.quantization.pipeline import run_quantization
from samlet.runs.distributed import DistributedContext
from samlet.slimming.importance import disturbed_taylor
from samlet.slimming.reconstruction import reconstruct
from samlet.slimming.surgery import cut_encoder
from samlet.training.batches import ImageDataset
from samlet.training.embeddings import EmbeddingCache
from tests.conftest import PHOTOS, flat, make_hiera, make_tiny
from tests.distillation.test_distill import write_data
from tests.models.test_hiera import narrow

LOOSE = {"points_per_side": 6, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}


@pytest.fixture(scope="module")
def sam():
    return make_hiera().requires_grad_(False)


@pytest.fixture(scope="module")
def photograph():
    return PHOTOS / "cat.jpg"


def test_maps_are_asked_as_a_tensor_is():
    maps = Maps([torch.arange(48.0).view(3, 4, 2, 2), torch.ones(3, 2, 4, 4)])
    assert (len(maps), maps.shape, maps.dtype) == (3, (3, 4, 2, 2), torch.float32)
    assert [tuple(m.shape) for m in maps[1:].maps] == [(2, 4, 2, 2), (2, 2, 4, 4)]
    assert [len(part) for part in maps.split(2)] == [2, 1]
    assert torch.equal(flat(joined(maps.split(1))), flat(maps))
    assert torch.equal(flat(stacked(list(maps))), flat(maps))
    assert maps.to(torch.float64).dtype == torch.float64


def test_prompts_on_photographs(sam, photograph):
    predictor = samlet.Predictor(sam)
    predictor.set_image(photograph)
    assert isinstance(predictor.embedding, Maps)
    several = predictor.predict(points=[[[200, 150]], [[40, 60]]])
    boxed = predictor.predict(boxes=[[20, 20, 200, 200]], points=[[100, 90]])
    again = predictor.predict(points=[[200, 150]], masks=several.low_res[:1, 0])
    assert several.masks.shape == (2, 3, 300, 451)
    assert boxed.masks.shape == (1, 3, 300, 451)
    assert np.abs(again.low_res - several.low_res[:1]).max() > 1e-3
    predictor.set_image([photograph, PHOTOS / "bee.jpg"])
    each = predictor.predict(points=[[[200, 150]], [[30, 30]]])
    np.testing.assert_allclose(each[0].low_res, several.low_res[:1], atol=1e-4)


def test_the_single_mask_is_the_same_for_predictor_and_segmenter(sam, photograph):
    predictor, segmenter = samlet.Predictor(sam), SamSegmenter(sam)
    predictor.set_image(photograph)
    segmenter.set_image(predictor_image := samlet.data.images.read_image(photograph))
    assert predictor_image.shape == (300, 451, 3)
    points = np.random.default_rng(0).uniform(0, [451, 300], (9, 1, 2))
    single, answers = predictor.predict(points=points, multimask=False), segmenter.answer(points=points)
    for number in range(9):
        drawn = answers.draw(number, [int(answers.singles[number])])[0]
        assert (drawn != single.masks[number, 0]).mean() < 1e-3
    # of the small model's masks none is stable, so all give way to the best of the three
    assert set(answers.singles.tolist()) <= {answers.best(p) for p in range(9)} | {0}


def test_everything_mode_as_in_whole(sam, photograph):
    """What is computed where it matters alone is what the whole decoder answers."""
    quick = samlet.MaskGenerator(sam, **LOOSE)(photograph)
    exact = samlet.MaskGenerator(sam, exact=True, **LOOSE)(photograph)
    assert len(quick) == len(exact) > 0
    assert [m["predicted_iou"] for m in quick] == pytest.approx([m["predicted_iou"] for m in exact], abs=0.02)
    hierarchical = samlet.MaskGenerator(sam, strategy="hierarchical", **{**LOOSE, "points_per_side": 8})(photograph)
    assert 0 < hierarchical.decoder_prompts <= 64


def test_published_thresholds_are_the_defaults(sam):
    for model, least in ((sam, 0.8), (make_tiny(), 0.88)):
        with torch.no_grad():
            embedding = model.encode(torch.zeros(1, 3, 128, 128))
        frame = samlet.data.transforms.Frame(128, 128, 128, model.config.resize)
        assert CropMasks(model, embedding, frame, EverythingOptions())._least_iou == least
        assert CropMasks(model, embedding, frame, EverythingOptions(pred_iou_thresh=0.3))._least_iou == 0.3


def test_cost_counts_the_decoder_with_fine_maps(sam):
    found = cost(sam, measure=True)
    assert found.encoder.latency_s > 0
    assert found.decoder.macs_modules > 0


def test_importance_sees_every_map(sam):
    """A channel that reaches nothing but the finest map has importance; one cut off from all maps has none."""
    sam = make_hiera()
    with torch.no_grad():
        sam.image_encoder.neck.fine[0].weight[:, 5] = 0  # channel 5 of stride 8's inner width leads nowhere
    groups = [g for g in sam.image_encoder.channel_groups() if g.family == "pyramid"]
    images = [torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    scores = disturbed_taylor(sam.image_encoder, images, groups, seed=0)
    assert [g.name for g in groups] == ["neck.fine.0", "neck.fine.1"]
    assert (scores["neck.fine.1"] > 0).all()
    assert scores["neck.fine.0"][5] == 0
    assert (scores["neck.fine.0"][[0, 1, 2, 3, 4, 6]] > 0).all()


def test_refitting_brings_every_map_closer(sam):
    whole = sam.image_encoder
    kept = {g.name: torch.arange(g.size // 2) for g in whole.channel_groups() if g.family in ("mlp", "pyramid")}
    cut = cut_encoder(whole, kept).requires_grad_(False)
    images = torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    other = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = [float((a - b).square().mean()) for a, b in zip(cut(other).maps, whole(other).maps, strict=True)]
        reconstruct(cut, whole, kept, list(images))
        after = [float((a - b).square().mean()) for a, b in zip(cut(other).maps, whole(other).maps, strict=True)]
    assert all(now < 0.9 * then for now, then in zip(after, before, strict=True)), (before, after)


def test_slimming_with_cached_views_is_that_of_the_teacher(tmp_path, photo_folder):
    settings = {"ratio": 0.5, "steps": 2, "image_size": 64, "scoring_images": 1, "recovery_images": 2, "views": 2}
    plain = samlet.slim(make_hiera(), photo_folder, **settings)
    cached = [samlet.slim(make_hiera(), photo_folder, **settings, cache=tmp_path / "cache") for _ in range(2)]
    assert all(cached[0].fingerprint() == made.fingerprint() for made in cached)
    assert plain.config == cached[0].config
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(value, cached[0].state_dict()[name], atol=2e-3, rtol=0.05)  # half precision
    assert plain.config.decoder.style == "sam2"
    assert plain.config.resize == "stretch_antialiased"


def test_a_cache_holds_every_map(tmp_path, sam, photo_folder):
    paths = find_images(photo_folder)
    photographs = ImageDataset(paths, 64, sam.pixel_mean, sam.pixel_std, resize=sam.config.resize)
    for _ in range(2):
        cache = EmbeddingCache(tmp_path, sam.fingerprint(), 64)
        cache.fill(photographs, paths, sam.encode, DistributedContext())
    with torch.no_grad():
        for path in paths:
            expected = sam.encode(photographs.prepare(photographs.read(path))[None])[0]
            found = cache.find(path)
            assert [m.shape for m in maps_of(found)] == [m.shape for m in maps_of(expected)]
            assert torch.equal(flat(found), flat(expected))


def test_distilling_with_both_roles(tmp_path):
    data = open_dataset(write_data(tmp_path / "data"))
    teacher, student = make_hiera(0), make_hiera(1)
    made = samlet.distill(teacher, student, data, steps=3, image_size=64, prompts=4, rounds=1)
    changed = [n for n, v in made.state_dict().items() if not torch.equal(v, student.state_dict()[n])]
    assert any("neck.fine" in name for name in changed)
    assert any("blocks.0" in name for name in changed)
    with pytest.raises(samlet.InputError, match="kind of decoder"):
        samlet.distill(teacher, make_tiny(), data, steps=1, image_size=64)


@pytest.mark.parametrize("scheme", ["twin", "integer"])
def test_quantizing(tmp_path, sam, scheme):
    settings = {"calibration_images": 1, "prompts": 2, "candidates": 8, "samples": 16, "rounds": 1}
    made = run_quantization(sam, find_images(PHOTOS)[:2], QuantConfig(scheme=scheme, **settings)).sam
    image = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for own, other in zip(made.encode(image).maps, sam.encode(image).maps, strict=True):
            assert 0 < float((own - other).norm() / other.norm()) < 0.2
    samlet.save(made, tmp_path / "m")
    assert samlet.load(tmp_path / "m").fingerprint() == made.fingerprint()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("to", "settings"),
    [
        pytest.param("onnx", {}, id="onnx"),
        pytest.param("openvino", {}, id="openvino", marks=pytest.mark.long),
        pytest.param("onnx", {"precision": "float16"}, id="float16", marks=pytest.mark.long),
        pytest.param("onnx", {"full_masks": True}, id="full masks", marks=pytest.mark.long),
    ],
)
def test_exports_answer_as_the_model(tmp_path, sam, photograph, to, settings):
    export_model(sam, tmp_path / "x", to=to, photographs=2, force=True, **settings)
    exported = samlet.load(tmp_path / "x")
    points = np.random.default_rng(0).uniform(0, [451, 300], (4, 1, 2))
    answers = []
    for model in (exported, sam):
        predictor = samlet.Predictor(model)
        predictor.set_image(photograph)
        answers.append((predictor.predict(points=points), predictor.predict(points=points, multimask=False)))
    half = settings.get("precision") == "float16"
    for own, other in zip(*answers, strict=True):
        assert (own.masks != other.masks).mean() < (5e-3 if half else 1e-4)
        np.testing.assert_allclose(own.iou, other.iou, atol=5e-3 if half else 1e-4)
    quick = samlet.MaskGenerator(exported, **LOOSE)(photograph)  # with the weights beside the graph
    assert len(quick) > 0


def test_folders_for_transformers_and_published_files(tmp_path):
    """Run there and read again, with widths that Sam2Model can hold."""
    sam = narrow()
    export_model(sam, tmp_path / "hf", to="hf", photographs=1)
    assert samlet.load(tmp_path / "hf").fingerprint() == sam.fingerprint()
    with pytest.raises(samlet.InputError, match="irregular"):
        export_model(make_hiera(), tmp_path / "other", to="segment-anything", photographs=1)


@pytest.mark.long
def test_executorch(tmp_path, sam, photograph):
    pytest.importorskip("executorch")
    export_model(sam, tmp_path / "x", to="executorch", photographs=2, force=True, prompts=2, points=2)
    predictors = [samlet.Predictor(model) for model in (samlet.load(tmp_path / "x"), sam)]
    for predictor in predictors:
        predictor.set_image(photograph)
    own, other = (predictor.predict(points=[[[200, 150]], [[40, 60]]]) for predictor in predictors)
    np.testing.assert_allclose(own.iou, other.iou, atol=1e-4)


def test_evaluation_by_several_protocols(tmp_path, sam):
    data = open_dataset(write_data(tmp_path / "data"))
    for prompt in ("point", "box"):
        found = samlet.evaluate(sam, data, prompt, progress=False)
        assert found.masks == 8
        assert 0 <= found.miou["single"] <= found.miou["oracle"] <= 1


def test_single_masks_take_low_res_logits(sam):
    low_res = torch.full((2, 4, 8, 8), 3.0)
    low_res[1, 0, :4] = 0.01  # half of it near the threshold: not stable
    iou = torch.tensor([[0.1, 0.2, 0.9, 0.3], [0.1, 0.2, 0.9, 0.3]])
    assert single_masks(sam, low_res, iou)[1].tolist() == pytest.approx([0.1, 0.9])


def test_latency_is_measured_with_every_map(sam):
    found = in_turns([Contestant(name="sam2", model=sam), Contestant(name="twin", model=sam)], None)
    assert all(seconds > 0 for times in found.values() for seconds in times)
