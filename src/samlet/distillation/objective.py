"""Full-stage distillation of one photograph after the other (TinySAM, AAAI 2025, eqs. 1 to 7)."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from samlet.distillation import losses
from samlet.distillation.config import WEIGHTS, DistillConfig
from samlet.distillation.examples import Example
from samlet.distillation.prompts import HardPrompts, draw_rounds, hard_prompts
from samlet.models import Embedding, Sam, joined, maps_of, stacked, trained_outputs
from samlet.models.decoders.full import FullMaskDecoder, prompt_decoder
from samlet.models.decoders.sam.fast import FastMaskDecoder

SECONDS = "seconds_"
"""Before the name of a part of the work."""

_TOGETHER = 8  # prompts of a round decoded together: larger batches fall out of a CPU's cache


class Clock:
    """Seconds by part of the work."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._device = device

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the block's time."""
        start = self._now()
        try:
            yield
        finally:
            self.seconds[name] += self._now() - start

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


class Batch:
    """Examples on their way through a wrapped model, which would look into a list and change what it finds."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples


class FullStage(nn.Module):
    """The loss of a student on photographs. The student is its only submodule.

    Args:
        student: what is trained; which of its parameters want gradients says what of it.
        teacher: frozen.
        config: weights, prompts.
        sizes: side of the student's and of the teacher's input, pixels.
    """

    def __init__(self, student: Sam, teacher: Sam, config: DistillConfig, sizes: tuple[int, int]) -> None:
        super().__init__()
        self.student = student
        self._teacher = (teacher,)  # in a tuple, so that it is no submodule
        self.config, self._scale = config, sizes[1] / sizes[0]
        self.clock = Clock(student.device)

    def forward(self, images: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, a scalar, its terms without their weights, and `seconds_PART` of each part, a photograph.

        Args:
            images: (B, 3, S, S) for the student.
            batch: B examples.
        """
        self.clock.seconds.clear()
        with self.clock.part("encoder"):
            embeddings = self.student.encode(images)
        return self.compare(embeddings, batch)

    def compare(self, embeddings: Embedding, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """As `forward`, of the student's embeddings of the photographs."""
        config, examples = self.config, batch.examples
        terms: dict[str, Tensor] = {}
        targets: Embedding | None = None
        if config.asks_teacher:
            with self.clock.part("teacher"), torch.no_grad():
                targets = joined([self.teacher_embedding(example, embeddings.device) for example in examples])
            distances = [
                losses.distance(own, resampled(wanted, own.shape[-2:]))
                for own, wanted in zip(maps_of(embeddings), maps_of(targets), strict=True)
            ]
            terms["embedding"] = torch.stack(distances).mean()
        if config.decodes:
            found = [
                self._decoded(example, embeddings[i : i + 1], None if targets is None else targets[i : i + 1])
                for i, example in enumerate(examples)
            ]
            terms |= {name: torch.stack([one[name] for one in found]).mean() for name in found[0]}
        loss = torch.stack([getattr(config, name) * terms[name] for name in WEIGHTS if name in terms]).sum()
        times = {f"{SECONDS}{part}": torch.tensor(s / len(examples)) for part, s in self.clock.seconds.items()}
        return loss, {**terms, **times}

    def teacher_embedding(self, example: Example, device: torch.device) -> Embedding:
        """Of one photograph, that which the example brings or computed here."""
        if example.target is not None:
            return stacked([example.target]).to(device)
        image = example.image if example.teacher_image is None else example.teacher_image
        return self._teacher[0].encode(image[None].to(device))

    def _decoded(self, example: Example, embedding: Embedding, target: Embedding | None) -> dict[str, Tensor]:
        """Terms of one photograph, means over its prompts; without a target those of the true masks alone."""
        (teacher,), config = self._teacher, self.config
        rng = _draws(config, example.position)
        rounds = draw_rounds(config.rounds, len(example.masks), rng)
        with self.clock.part("prompts"), torch.no_grad():
            answer = student_answers(self.student, embedding, example.masks.shape[1:])
            groups = hard_prompts(example, answer, rounds, config.boxes, config.box_noise, config.clicks, rng)
        height, width = example.masks.shape[1:]
        device, threshold = embedding.device, self.student.config.mask_threshold
        found: dict[str, list[Tensor]] = defaultdict(list)
        errors: list[Tensor] = []
        hard: list[Tensor] = []
        for prompts in groups:
            truth = torch.from_numpy(example.masks[prompts.numbers]).to(device)
            shares = torch.from_numpy(example.shares[prompts.numbers]).to(device)
            with self.clock.part("decoder"):
                out = trained_outputs(self.student, self.student.decode(embedding, **prompts.tensors(device)))
                logits = out.low_res[..., :height, :width]
                terms = {
                    "mask": losses.truth_loss(logits, shares, self.student.has_single_mask),
                    "iou": losses.iou_loss(out.iou, logits, truth, threshold),
                }
            if target is not None:
                with self.clock.part("teacher"), torch.no_grad():
                    expected = trained_outputs(teacher, teacher.decode(target, **prompts.tensors(device, self._scale)))
                    size = (4 * embedding.shape[2], 4 * embedding.shape[3])
                    wanted = resampled(expected.low_res, size)[..., :height, :width]
                with self.clock.part("decoder"):
                    terms["token"] = losses.distance(out.tokens, expected.tokens)
                    errors.append(losses.output_errors(logits, wanted))
                    if config.hard_masks:
                        hard.append(losses.mask_hardness(logits, wanted, truth, threshold))
            for name, term in terms.items():
                found[name].append(term * (len(prompts.numbers) / len(example.masks)))
        terms = {name: torch.stack(parts).sum() for name, parts in found.items()}
        if errors:
            terms["output"] = losses.output_distance(torch.cat(errors), torch.cat(hard) if hard else None)
        return terms


def _draws(config: DistillConfig, position: int) -> np.random.Generator:
    return np.random.default_rng([config.seed, 3, position])


def rounds_of(config: DistillConfig, position: int) -> NDArray[np.intp]:
    """(P,) rounds of hard prompts that each prompt of the photograph at a position goes through."""
    return draw_rounds(config.rounds, config.prompts_per_image, _draws(config, position))


def resampled(values: Tensor, size: Sequence[int]) -> Tensor:
    """(N, C, h, w) on another grid, bilinear, with antialiasing where it is coarser; as it is if it fits.

    Both grids begin at the photograph's top left corner and end where the padded square ends, so what a cell stands for
    stays in place.
    """
    if tuple(values.shape[-2:]) == tuple(size):
        return values
    return F.interpolate(values.float(), tuple(size), mode="bilinear", align_corners=False, antialias=True)


def student_answers(
    student: Sam, embedding: Embedding, size: tuple[int, int]
) -> Callable[[HardPrompts], NDArray[np.bool_]]:
    """What a student answers with its best predicted mask, as (P, h, w) of `size`, without gradients.

    Args:
        student: the model.
        embedding: of one photograph.
        size: cells of the photograph, without the padding.
    """
    device = embedding.device
    made: list[FastMaskDecoder | FullMaskDecoder] = []

    @torch.no_grad()
    def answer(prompts: HardPrompts) -> NDArray[np.bool_]:
        answers = np.zeros((len(prompts.numbers), *size), bool)
        given = prompts.tensors(device)
        with torch.autocast(device.type, enabled=False):
            if not made:
                made.append(prompt_decoder(student, embedding.detach().float()))
            decoder = made[0]
            for start in range(0, len(answers), _TOGETHER):
                part = {name: None if v is None else v[start : start + _TOGETHER] for name, v in given.items()}
                decoded = decoder.transform(**part)
                for p, best in enumerate((1 + decoded.iou[:, 1:].argmax(dim=1)).tolist()):
                    logits = decoder.masks(decoded, p, [best])[0, : size[0], : size[1]]
                    answers[start + p] = (logits > student.config.mask_threshold).cpu().numpy()
        return answers

    return answer
