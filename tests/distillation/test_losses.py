"""Every term against a slow version of itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from samlet.distillation import losses
from samlet.training.mask_losses import dice_loss, focal_loss, mask_iou, mask_loss

RNG = np.random.default_rng(0)


def iou(a, b):
    either = sum(1 for x, y in zip(a.flat, b.flat, strict=True) if x or y)
    both = sum(1 for x, y in zip(a.flat, b.flat, strict=True) if x and y)
    return both / either if either else 1.0


def random_masks(prompts=3, outputs=4, size=(5, 6)):
    student, teacher = (torch.from_numpy(RNG.normal(0, 4, (prompts, outputs, *size))).float() for _ in range(2))
    truth = torch.from_numpy(RNG.random((prompts, *size)) < RNG.random((prompts, 1, 1)))
    return student, teacher, truth


def test_the_distance_is_the_mean_absolute_difference():
    a, b = (torch.from_numpy(RNG.normal(0, 2, (2, 3, 4))).float() for _ in range(2))
    expected = sum(abs(x - y) for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)) / 24
    assert float(losses.distance(a, b)) == pytest.approx(expected, abs=2e-4)


def test_what_is_compared_at_once_changes_no_distance():
    """Differences at the edge of rounding beside an entry that is much larger."""
    sizes = torch.tensor([1, 10, 100, 1e4]).view(4, 1, 1, 1)
    teacher = sizes * torch.randn(4, 8, 5, 5, generator=torch.Generator().manual_seed(0))
    student = (teacher + 1e-2).requires_grad_(True)
    found = []
    for size in (1, 2, 4):
        student.grad = None
        parts = zip(student.split(size), teacher.split(size), strict=True)
        loss = sum(losses.distance(a, b) * (size / 4) for a, b in parts)
        loss.backward()
        found.append((loss.item(), student.grad))
    for loss, gradient in found[1:]:
        assert loss == pytest.approx(found[0][0])
        assert torch.allclose(gradient, found[0][1])


@pytest.mark.parametrize(("teacher", "student"), [(0.9, 0.3), (0.3, 0.9), (0.5, 0.5), (0.7, 0.0), (0.0, 0.0), (1, 1)])
def test_hardness_is_equation_6(teacher, student):
    ratio = teacher / (student + 1e-6) - 1
    expected = 1 / (1 + math.exp(-ratio)) if ratio < 700 else 1.0
    assert float(losses.hardness(torch.tensor(float(teacher)), torch.tensor(float(student)))) == pytest.approx(expected)


def test_harder_masks_weigh_more():
    student = torch.tensor([0.9, 0.6, 0.3, 0.1])
    weights = losses.hardness(torch.full((4,), 0.8), student)
    assert torch.all(weights[1:] > weights[:-1])


@pytest.mark.parametrize("hard_masks", [True, False])
def test_the_output_distance_against_a_loop(hard_masks):
    """With hard masks the mean is weighted by eq. 6."""
    student, teacher, truth = random_masks()
    total = weights = 0.0
    for p in range(3):
        for m in range(4):
            apart = float((student[p, m] - teacher[p, m]).abs().sum()) / 30
            ious = [iou((x[p, m] > 0.5).numpy(), truth[p].numpy()) for x in (teacher, student)]
            weight = 1 / (1 + math.exp(-min(ious[0] / (ious[1] + 1e-6) - 1, 700))) if hard_masks else 1
            total += weight * apart
            weights += weight
    hard = losses.mask_hardness(student, teacher, truth, 0.5) if hard_masks else None
    found = losses.output_distance(losses.output_errors(student, teacher), hard)
    assert float(found) == pytest.approx(total / weights, abs=3e-4)


def test_hard_masks_leave_the_weight_of_the_term():
    """Weights have the mean 1: equal errors give what they give without weights, however good the student is."""
    hard = losses.hardness(torch.full((3, 4), 0.8), torch.from_numpy(RNG.random((3, 4))).float())
    errors = torch.full((3, 4), 2.5)
    assert float(losses.output_distance(errors, hard)) == pytest.approx(2.5)
    errors = torch.from_numpy(RNG.random((3, 4))).float().requires_grad_(True)
    losses.output_distance(errors, hard).backward()
    assert errors.grad.sum() == pytest.approx(1)
    assert torch.allclose(errors.grad, hard / hard.sum())


def test_focal_and_dice_against_loops():
    logits, shares = RNG.normal(0, 3, (2, 4, 5)), RNG.random((2, 4, 5))
    found = focal_loss(torch.from_numpy(logits), torch.from_numpy(shares))
    dice = dice_loss(torch.from_numpy(logits), torch.from_numpy(shares))
    for i in range(2):
        focal, overlap, predicted, true = 0.0, 0.0, 0.0, 0.0
        for x, t in zip(logits[i].flat, shares[i].flat, strict=True):
            p = 1 / (1 + math.exp(-x))
            entropy = -(t * math.log(p) + (1 - t) * math.log(1 - p))
            focal += (0.25 * t + 0.75 * (1 - t)) * (p * (1 - t) + (1 - p) * t) ** 2 * entropy / 20
            overlap, predicted, true = overlap + p * t, predicted + p, true + t
        assert float(found[i]) == pytest.approx(focal)
        assert float(dice[i]) == pytest.approx(1 - (2 * overlap + 1) / (predicted + true + 1))


def test_only_the_best_of_the_multimask_outputs_is_held_to_the_truth():
    logits = torch.full((1, 4, 4, 4), -8.0)
    shares = torch.zeros(1, 4, 4)
    shares[0, :2] = 1
    logits[0, 2, :2] = 8.0  # the one good mask
    logits.requires_grad_(True)
    loss = losses.truth_loss(logits, shares)
    loss.backward()
    assert [bool(g.abs().sum() > 0) for g in logits.grad[0]] == [True, False, True, False]
    each = [float(mask_loss(logits[0, m].detach(), shares[0])) for m in range(4)]
    assert loss.item() == pytest.approx(0.5 * each[0] + 0.5 * min(each[1:]))


def test_without_a_single_mask_the_best_alone_is_held_to_the_truth():
    logits = torch.full((2, 3, 4, 4), -8.0)
    shares = torch.zeros(2, 4, 4)
    shares[:, :2] = 1
    logits[0, 2, :2] = logits[1, 0, :2] = 8.0
    logits.requires_grad_(True)
    loss = losses.truth_loss(logits, shares, single=False)
    loss.backward()
    assert logits.grad.abs().sum((2, 3)).bool().tolist() == [[False, False, True], [True, False, False]]
    assert loss.item() == pytest.approx(float(mask_loss(logits[0, 2].detach(), shares[0])))


def test_the_iou_loss_against_a_loop():
    student, _, truth = random_masks()
    predicted = torch.from_numpy(RNG.random((3, 4))).float()
    expected = np.mean(
        [
            abs(float(predicted[p, m]) - iou((student[p, m] > 0).numpy(), truth[p].numpy()))
            for p in range(3)
            for m in range(4)
        ]
    )
    assert float(losses.iou_loss(predicted, student, truth, 0.0)) == pytest.approx(expected, abs=1e-6)


def test_empty_full_and_one_pixel_masks_have_their_hardness_and_gradient():
    student, teacher, truth = random_masks()
    truth[0], truth[1] = False, True
    truth[2] = False
    truth[2, 1, 1] = True
    student[0] = -3.0
    assert float(mask_iou(student[0, 0] > 0, truth[0])) == 1
    hard = losses.mask_hardness(student.requires_grad_(True), teacher, truth, 0.0)
    assert not hard.requires_grad
    assert float(hard[0, 0]) == pytest.approx(
        1 / (1 + math.e)
    )  # the student's empty mask is right, the teacher's is not
    predicted = torch.from_numpy(RNG.random((3, 4))).float()

    def total(student):
        found = losses.output_distance(losses.output_errors(student, teacher), hard)
        return found + losses.truth_loss(student, truth.float()) + losses.iou_loss(predicted, student, truth, 0.0)

    total(student).backward()
    slope, step = float(student.grad.square().sum()), 1e-2
    with torch.no_grad():
        ahead, behind = (total(student + sign * step * student.grad) for sign in (1, -1))
    assert float(ahead - behind) / (2 * step) == pytest.approx(slope, rel=0.02)


def test_an_equal_student_has_no_loss_and_no_gradient():
    _, teacher, truth = random_masks()
    student = (teacher + 1e-6).requires_grad_(True)  # rounding
    hard = losses.mask_hardness(student, teacher, truth, 0.0)
    loss = losses.output_distance(losses.output_errors(student, teacher), hard) + losses.distance(student, teacher)
    loss.backward()
    assert float(loss) == 0
    assert float(student.grad.abs().max()) == 0
