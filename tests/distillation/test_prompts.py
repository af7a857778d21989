"""The sampler on random masks: a click is always as true as its label."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from samlet.data.datasets import open_dataset
from samlet.data.masks import bounding_box, decode_rle, encode_rle
from samlet.distillation.augmentation import random_view
from samlet.distillation.config import DistillConfig
from samlet.distillation.examples import Examples, Preparation
from samlet.distillation.objective import Batch, FullStage, rounds_of
from samlet.distillation.prompts import BACKGROUND, FOREGROUND, draw_rounds, first_boxes, first_points, hard_prompts
from samlet.models.decoders.sam.prompt_encoder import PADDING
from tests.conftest import CHANNELS, make_tiny

PREPARE = Preparation(64, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "longest_side")


def write(folder, name, masks, size):
    """A photograph in SA-1B's layout."""
    height, width = size
    source = np.random.default_rng(len(name))
    Image.fromarray(source.integers(0, 256, (height, width, 3), np.uint8)).save(folder / f"{name}.png")
    entries = [{"segmentation": encode_rle(mask)} for mask in masks]
    (folder / f"{name}.json").write_text(json.dumps({"annotations": entries}))


def random_mask(rng, height, width):
    """Blobs, lines, noise, everything, a pixel."""
    kind = rng.integers(0, 5)
    mask = np.zeros((height, width), bool)
    if kind == 0:
        y, x = rng.integers(0, height), rng.integers(0, width)
        mask[y : y + rng.integers(1, height + 1), x : x + rng.integers(1, width + 1)] = True
    elif kind == 1:
        mask[:, rng.integers(0, width)] = True
    elif kind == 2:
        mask[:] = rng.random((height, width)) < 0.5
    elif kind == 3:
        mask[:] = True
    else:
        mask[rng.integers(0, height), rng.integers(0, width)] = True
    return mask


def one_example(folder, masks, size, prompts=8, prepare=PREPARE, **options):
    write(folder, "photo", masks, size)
    dataset = open_dataset(folder)
    return Examples(dataset, [0], prepare, prepare, prompts, **options).at(0)


def original(value, size, resized):
    """The pixel of the photograph that a coordinate of the input names."""
    return round(value * size / resized)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("clicks", ["accumulate", "replace"])
def test_no_click_lies_about_its_mask(tmp_path, seed, clicks):
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(17, 200, 2))
    prepare = Preparation(64, (0.0,) * 3, (1.0,) * 3, ("longest_side", "stretch", "stretch_antialiased")[seed % 3])
    masks = [random_mask(rng, height, width) for _ in range(8)]
    example = one_example(tmp_path, masks, (height, width), prepare=prepare)
    frame = prepare(np.zeros((height, width, 3), np.uint8))[1]
    answers = iter(rng.random((100, 8, *example.masks.shape[1:])) < rng.random((100, 1, 1, 1)))

    def answer(prompts):
        return next(answers)[: len(prompts.numbers)]

    seen = 0
    for group in hard_prompts(example, answer, draw_rounds(6, 8, rng), 0.5, 0.1, clicks, rng):
        if group.points is None:
            continue
        for number, points, labels in zip(group.numbers, group.points, group.labels, strict=True):
            mask = find_mask(example, number, masks, frame)
            for (x, y), label in zip(points, labels, strict=True):
                if label == PADDING:
                    continue
                row = original(y, height, frame.resized[0])
                column = original(x, width, frame.resized[1])
                assert mask[row, column] == (label == FOREGROUND), (number, x, y, label)
                assert label in (FOREGROUND, BACKGROUND)
                seen += 1
    assert seen >= 1


def find_mask(example, number, masks, frame):
    """The mask behind a prompt: the one with the same box and the same low-res cells."""
    for mask in masks:
        x, y, w, h = bounding_box(mask)
        corners = np.array([x, y, x + w, y + h], np.float32)
        scale = np.array([frame.resized[1] / frame.width, frame.resized[0] / frame.height] * 2, np.float32)
        rows = [original(v, frame.height, frame.resized[0]) for v in example.ys]
        columns = [original(v, frame.width, frame.resized[1]) for v in example.xs]
        same = np.array_equal(mask[np.ix_(rows, columns)], example.masks[number])
        if same and np.allclose(corners * scale, example.boxes[number], atol=1e-3):
            return mask
    raise AssertionError("no mask belongs to the prompt")


def test_shares_are_means_of_the_mask_at_the_inputs_resolution(tmp_path):
    mask = np.zeros((64, 48), bool)
    mask[10:31, 5:22] = True
    example = one_example(tmp_path, [mask], (64, 48), prompts=1)
    expected = mask.reshape(16, 4, 12, 4).mean(axis=(1, 3))
    assert np.allclose(example.shares[0], expected)
    assert np.array_equal(example.masks[0], mask[2::4, 2::4])


def test_a_mask_smaller_than_a_cell_is_still_asked_for(tmp_path):
    mask = np.zeros((64, 64), bool)
    mask[5, 9] = True
    example = one_example(tmp_path, [mask], (64, 64), prompts=2)
    assert not example.masks.any()
    points = first_points(example, np.arange(2), np.random.default_rng(0))
    assert points.points.tolist() == [[[9, 5]], [[9, 5]]]


def test_boxes_stay_in_the_photograph_and_are_never_empty(tmp_path):
    rng = np.random.default_rng(3)
    masks = [random_mask(rng, 50, 80) for _ in range(8)]
    example = one_example(tmp_path, masks, (50, 80))
    tight = first_boxes(example, np.arange(8), 0.0, rng).boxes
    assert np.allclose(tight, example.boxes, atol=1.01)
    for _ in range(50):
        boxes = first_boxes(example, np.arange(8), 1.0, rng).boxes
        assert (boxes[:, 2:] - boxes[:, :2] >= 0.99).all()
        assert boxes.min() >= 0
        assert boxes[:, ::2].max() <= 64
        assert boxes[:, 1::2].max() <= 40


def test_hard_prompts_ask_where_the_student_is_wrong(tmp_path):
    mask = np.zeros((64, 64), bool)
    mask[8:40, 8:40] = True
    example = one_example(tmp_path, [mask], (64, 64), prompts=1)
    wrong = example.masks.copy()
    wrong[0, 2, 2] = False  # the one error: missed

    def asked(answer, rounds, boxes, clicks):
        given = np.array([rounds]), boxes, 0.0, clicks, np.random.default_rng(0)
        (group,) = hard_prompts(example, lambda prompts: answer[prompts.numbers], *given)
        return group

    missed = asked(wrong, 1, 0.0, "accumulate")
    assert missed.points[0, 1].tolist() == [10, 10]
    assert missed.labels[0].tolist() == [FOREGROUND, FOREGROUND]
    spilt = example.masks.copy()
    spilt[0, 15, 15] = True
    surplus = asked(spilt, 2, 1.0, "accumulate")
    assert surplus.points[0].tolist() == [[62, 62], [62, 62]]
    assert surplus.labels[0].tolist() == [BACKGROUND, BACKGROUND]
    right = asked(example.masks, 1, 0.0, "accumulate")
    assert right.labels[0].tolist() == [FOREGROUND, PADDING]
    replaced = asked(wrong, 3, 0.0, "replace")
    assert replaced.points[0].tolist() == [[10, 10]]
    first = asked(wrong, 0, 1.0, "accumulate")
    assert first.points is None


@pytest.mark.parametrize("boxes", [0.0, 0.5, 1.0])
def test_each_prompt_goes_through_its_own_rounds(tmp_path, boxes):
    """An answer that is always wrong brings a click a round."""
    mask = np.zeros((64, 64), bool)
    mask[8:40, 8:40] = True
    example = one_example(tmp_path, [mask], (64, 64), prompts=40)
    rounds = np.arange(40) % 5
    asked = []

    def answer(prompts):
        asked.extend(prompts.numbers)
        return np.zeros((len(prompts.numbers), *example.masks.shape[1:]), bool)

    groups = hard_prompts(example, answer, rounds, boxes, 0.0, "accumulate", np.random.default_rng(0))
    assert len(groups) == (2 if boxes == 0.5 else 1)
    for group in groups:
        clicks = 0 if group.labels is None else (group.labels != PADDING).sum(axis=1)
        assert np.array_equal(clicks, rounds[group.numbers] + (group.boxes is None))
    assert np.array_equal(np.bincount(asked, minlength=40), rounds)


def test_every_number_of_rounds_is_as_likely():
    """TinySAM's 0 to 9: a tenth each, 4.5 in the mean, and the prompts of a photograph are not alike."""
    config = DistillConfig()
    drawn = np.stack([rounds_of(config, position) for position in range(2000)])
    assert drawn.shape == (2000, 16)
    shares = np.bincount(drawn.ravel()) / drawn.size
    assert shares == pytest.approx([0.1] * 10, abs=0.008)  # five standard deviations
    assert drawn.mean() == pytest.approx(4.5, abs=0.08)
    assert drawn.var(axis=1).mean() == pytest.approx(99 / 12 * 15 / 16, rel=0.05)
    assert not rounds_of(DistillConfig(rounds=0), 3).any()


def test_the_prompts_that_are_decoded_have_those_rounds(tmp_path):
    """Clicks of the prompts that an untrained student, never quite right, is trained with."""
    mask = np.zeros((64, 64), bool)
    mask[8:40, 8:40] = True
    write(tmp_path, "photo", [mask], (64, 64))
    student = make_tiny()
    examples = Examples(open_dataset(tmp_path), [0], PREPARE, PREPARE, 16)
    config = DistillConfig(rounds=9, boxes=0)
    seen, decode = [], student.decode

    def counting(embedding, **prompts):
        seen.extend((prompts["labels"] != PADDING).sum(dim=1).tolist())
        return decode(embedding, **prompts)

    student.decode = counting
    objective = FullStage(student, make_tiny(1), config, (64, 64))
    drawn = []
    with torch.no_grad():
        for position in range(3):
            example = dataclasses.replace(examples.at(position), target=torch.zeros(CHANNELS, 4, 4))
            objective.compare(torch.zeros(1, CHANNELS, 4, 4), Batch([example]))
            drawn.extend(1 + rounds_of(config, position))
    assert seen == drawn


@pytest.mark.parametrize("seed", range(8))
def test_views_move_photograph_and_masks_together(seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (40, 60, 3), np.uint8)
    mask = rng.random((40, 60)) < 0.5
    view = random_view(40, 60, rng)
    plain = type(view)(view.crop, view.canvas, view.at, view.mirror, (1.0, 1.0, 1.0))
    marked = image.copy()
    marked[mask] = 255
    marked[~mask] = 0
    seen = plain.image(marked, np.zeros(3, np.uint8))
    assert np.array_equal(seen[..., 0] == 255, plain.mask(mask))
    assert seen.shape == (*view.canvas, 3)
    assert view.mask(np.ones((40, 60), bool)).sum() == view.crop[2] * view.crop[3]


def test_augmented_examples_keep_their_masks(tmp_path):
    mask = np.zeros((64, 64), bool)
    mask[20:44, 20:44] = True
    write(tmp_path, "photo", [mask], (64, 64))
    examples = Examples(open_dataset(tmp_path), [0], PREPARE, PREPARE, 2, augment=True)
    found = [examples.at(position) for position in range(20)]
    assert all(e.shares.max() > 0 for e in found)
    assert len({e.masks.tobytes() for e in found}) > 10
    again = [Examples(open_dataset(tmp_path), [0], PREPARE, PREPARE, 2, augment=True).at(p) for p in range(20)]
    assert all(np.array_equal(a.masks, b.masks) and a.image.equal(b.image) for a, b in zip(found, again, strict=True))


def test_the_annotations_masks_are_what_is_asked_for(tmp_path):
    masks = [np.zeros((64, 64), bool) for _ in range(3)]
    for i, mask in enumerate(masks):
        mask[4 + 16 * i : 12 + 16 * i, 4:60] = True
    example = one_example(tmp_path, masks, (64, 64), prompts=7)
    cells = {mask[2::4, 2::4].tobytes() for mask in masks}
    assert {m.tobytes() for m in example.masks} == cells
    assert example.masks.shape == (7, 16, 16)
    dataset = open_dataset(tmp_path)
    assert len(dataset.source.sample(0).annotations) == 3
    assert decode_rle(dataset.source.sample(0).annotations[0].rle).sum() == masks[0].sum()
