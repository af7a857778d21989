"""The aligning losses and their schedules."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from samlet.data.images import find_images
from samlet.runs.distributed import DistributedContext
from samlet.slimming.alpha import Alpha
from samlet.slimming.losses import BottleneckAligning, EmbeddingAligning, relative_error, run_observed
from samlet.training.batches import ImageDataset
from samlet.training.loop import LoopConfig, Stage, train
from tests.conftest import make_tiny, make_vit

IMAGES = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=["vit", "tiny_vit"])
def teacher(request):
    return (make_vit if request.param == "vit" else make_tiny)().image_encoder.requires_grad_(False)


def bottleneck_aligning(student, teacher, images, alpha, error="relative"):
    return BottleneckAligning(student, teacher, error=error)(images, alpha)


def embedding_aligning(student, middle, teacher, images, alpha, error="relative"):
    return EmbeddingAligning(student, teacher, middle, error)(images, alpha)


def test_schedules_are_the_papers_at_20_epochs_a_stage():
    constant, dynamic = Alpha(name="constant"), Alpha(name="dynamic")
    assert [constant(epoch, 20) for epoch in (0, 9, 10, 19)] == [0.5, 0.5, 0, 0]
    expected = [pytest.approx((10 - n - 1) / 10) for n in range(10)] + [0, 0]
    assert [dynamic(epoch, 20) for epoch in range(12)] == expected
    assert [Alpha(name="off")(epoch, 20) for epoch in (0, 19)] == [0, 0]


def test_n_counts_epochs_where_it_is_given():
    alpha = Alpha(name="dynamic", periods=2, period_steps=2.5)
    assert [alpha(step, 1000) for step in range(7)] == [0.5, 0.5, 0.5, 0, 0, 0, 0]


def test_features_of_every_block_are_seen_whole(teacher):
    names = teacher.bottleneck_features() + teacher.embedding_features()
    embedding, features = run_observed(teacher, IMAGES, names)
    assert set(features) == set(names)
    assert not embedding.requires_grad
    with torch.no_grad():
        assert torch.allclose(teacher(IMAGES), embedding, atol=1e-5)
    assert not any(module._forward_hooks for module in teacher.modules())
    _, blocks = run_observed(teacher, IMAGES, teacher.embedding_features())  # runs in strips
    assert all(torch.allclose(blocks[name], features[name], atol=1e-5) for name in blocks)


def test_a_student_that_equals_its_teacher_has_no_loss(teacher):
    student = copy.deepcopy(teacher)
    for alpha in (0.0, 0.5, 0.9):
        for error in ("mse", "relative"):
            assert bottleneck_aligning(student, teacher, IMAGES, alpha, error) == 0
            assert embedding_aligning(student, teacher, teacher, IMAGES, alpha, error) == 0


def test_the_papers_losses_by_hand(teacher):
    """Eqs. 5 to 8 written out, with plain mean squared errors."""
    student, middle = copy.deepcopy(teacher), copy.deepcopy(teacher)
    with torch.no_grad():
        for i, model in enumerate((student, middle)):
            for parameter in model.parameters():
                parameter.mul_(1.02 + 0.03 * i)

    def outputs(model, names):
        embedding, features = run_observed(model, IMAGES, names)
        return embedding, [features[name] for name in names]

    def mse(a, b):
        return float((a - b).square().mean())

    names = teacher.bottleneck_features()
    (t0, h0), (t1, h1) = outputs(teacher, names), outputs(student, names)
    expected = 0.3 * sum(map(mse, h0, h1)) / len(names) + 0.7 * mse(t0, t1)
    assert float(bottleneck_aligning(student, teacher, IMAGES, 0.3, "mse")) == pytest.approx(expected, rel=1e-4)
    names = teacher.embedding_features()
    (t0, _), (t1, e1), (t2, e2) = (outputs(model, names) for model in (teacher, middle, student))
    expected = 0.3 * (sum(map(mse, e1, e2)) / len(names) + mse(t1, t2)) + 0.7 * mse(t0, t2)
    assert float(embedding_aligning(student, middle, teacher, IMAGES, 0.3, "mse")) == pytest.approx(expected, rel=1e-4)


def pale_to_bright(count):
    """Images of other contrast each, so that the variance of what they are encoded to differs."""
    scale = torch.linspace(0.1, 2, count).view(-1, 1, 1, 1)
    return scale * torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_the_relative_error_of_one_image_is_its_share_of_the_variance():
    generator = torch.Generator().manual_seed(0)
    output, target = (torch.randn(1, 8, 5, 6, generator=generator).to(memory_format=torch.channels_last) for _ in "ab")
    assert torch.equal(relative_error(output, target), F.mse_loss(output, target) / target.var(correction=0))
    mean = target.mean().expand_as(target)
    assert float(relative_error(mean, target)) == pytest.approx(1)
    assert float(relative_error(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2))) == 0


@pytest.mark.parametrize("error", ["relative", "mse"])
def test_a_batch_has_the_mean_loss_and_gradient_of_its_images(teacher, error):
    """Inside blocks the first axis holds windows or tokens, image after image."""
    student = copy.deepcopy(teacher).requires_grad_(True)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.mul_(1.05)
    images = pale_to_bright(4)
    for objective in (
        BottleneckAligning(student, teacher, error=error),
        EmbeddingAligning(student, teacher, copy.deepcopy(teacher), error),
    ):
        found = []
        for size in (1, 2, 4):
            student.zero_grad(set_to_none=True)
            loss = sum(objective(part, 0.5) * (size / 4) for part in images.split(size))
            loss.backward()
            found.append((loss.item(), torch.cat([p.grad.flatten() for p in student.parameters()])))
        for loss, gradient in found[1:]:
            assert loss == pytest.approx(found[0][0], rel=1e-4)
            assert (gradient - found[0][1]).norm() < 1e-3 * found[0][1].norm()


def test_the_micro_batch_changes_no_weight(photo_folder):
    """Two steps of Adam on photographs that differ in contrast; all but rounding."""
    for i, path in enumerate(sorted(photo_folder.glob("*.png"))):
        Image.fromarray((np.asarray(Image.open(path)) * (0.2 + 0.15 * i)).astype(np.uint8)).save(path)
    teacher, start = (make_tiny(seed).image_encoder for seed in (0, 1))
    photographs = ImageDataset(find_images(photo_folder), 64, torch.zeros(3, 1, 1), 50 * torch.ones(3, 1, 1))

    def trained(micro_batch):
        student = copy.deepcopy(start)
        objective = BottleneckAligning(student, teacher.requires_grad_(False))
        config = LoopConfig(steps=2, learning_rate=1e-3, micro_batch=micro_batch)
        run = train(
            DistributedContext(), objective, lambda m, _, x, __: m(x, 0.5), photographs, config, Stage(name="test")
        )
        return run.losses, torch.cat([p.detach().flatten() for p in student.parameters()])

    before = torch.cat([p.flatten() for p in start.parameters()])
    (losses, weights), *others = (trained(micro_batch) for micro_batch in (1, 2, 4))
    for other_losses, other_weights in others:
        assert other_losses == pytest.approx(losses, rel=1e-4)
        assert (other_weights - weights).norm() < 0.02 * (weights - before).norm()


def test_every_bottleneck_and_every_block_gets_a_gradient(teacher):
    """The features of student and teacher are compared, in global attention too, not the student's with itself."""
    student = copy.deepcopy(teacher).requires_grad_(True)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.mul_(1.05)
    bottleneck_aligning(student, teacher, IMAGES, 1.0).backward()
    for name in teacher.bottleneck_features():
        weight = student.get_submodule(name).weight
        assert weight.grad is not None, name
        assert weight.grad.abs().max() > 0, name
    student.zero_grad(set_to_none=True)
    embedding_aligning(student, teacher, teacher, IMAGES, 0.9).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in student.parameters())
    assert all(p.grad is None for p in teacher.parameters())


def test_alpha_zero_reads_no_features(teacher):
    student = copy.deepcopy(teacher).requires_grad_(True)
    with torch.no_grad():
        student.neck[0].weight.mul_(1.1)
    plain = embedding_aligning(student, None, teacher, IMAGES, 0.0)
    assert plain > 0
    assert plain == bottleneck_aligning(student, teacher, IMAGES, 0.0)


def test_a_known_target_spares_the_teacher_and_changes_nothing(teacher):
    student = copy.deepcopy(teacher).requires_grad_(True)
    with torch.no_grad():
        student.neck[0].weight.mul_(1.1)
    target, _ = run_observed(teacher, IMAGES)
    middle = copy.deepcopy(teacher)
    calls = []
    handle = teacher.register_forward_hook(lambda *_: calls.append(1))
    for objective in (BottleneckAligning(student, teacher), EmbeddingAligning(student, teacher, middle)):
        alpha = 0.0 if isinstance(objective, BottleneckAligning) else 0.5
        with_teacher = objective(IMAGES, alpha)
        calls.clear()
        assert objective(IMAGES, alpha, target) == with_teacher
        assert not calls
    handle.remove()
