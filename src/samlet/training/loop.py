"""The one training loop: a method brings a loss, the loop owns everything else."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from samlet.errors import SamletError

_TERMINAL_INTERVAL_S, _LOG_INTERVAL_S = 0.5, 15.0

LossFunction = Callable[[Tensor, float], Tensor]
"""(images (B, 3, H, W), progress in 0…1) to a scalar loss."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """Settings of one training stage.

    Attributes:
        steps: optimizer steps.
        learning_rate: of Adam, at its peak.
        accumulate: batches whose gradients make one step.
        warmup: share of the steps in which the learning rate rises from 0.
        clip: largest norm of the gradient.
    """

    steps: int
    learning_rate: float
    accumulate: int = 1
    warmup: float = 0.05
    clip: float = 1.0


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What a stage did.

    Attributes:
        losses: loss of each step.
        seconds: of the stage.
        images: images seen.
    """

    losses: list[float]
    seconds: float
    images: int


def train(
    model: nn.Module, loss_function: LossFunction, batches: Iterable[Tensor], config: LoopConfig, name: str
) -> StageResult:
    """Train a model in place with Adam, warm-up and cosine decay.

    Args:
        model: what is trained.
        loss_function: the method.
        batches: endless (B, 3, H, W) batches.
        config: settings.
        name: shown beside the progress bar.

    Raises:
        SamletError: the loss is no number any more.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=config.learning_rate)
    source: Iterator[Tensor] = iter(batches)
    losses: list[float] = []
    images, start = 0, time.perf_counter()
    every = _TERMINAL_INTERVAL_S if sys.stderr.isatty() else _LOG_INTERVAL_S
    bar = tqdm(range(config.steps), desc=name, unit="step", mininterval=every, maxinterval=every)
    for step in bar:
        progress = step / config.steps
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * _schedule(step + 1, config)
        total = 0.0
        optimizer.zero_grad(set_to_none=True)
        for _ in range(config.accumulate):
            batch = next(source)
            loss = loss_function(batch, progress) / config.accumulate
            loss.backward()
            total += loss.item()
            images += len(batch)
        if not math.isfinite(total):
            raise SamletError(
                f"{name}: the loss became {total} at step {step + 1} of {config.steps} with learning rate "
                f"{config.learning_rate:g}; lower it with --learning-rate"
            )
        nn.utils.clip_grad_norm_(parameters, config.clip)
        optimizer.step()
        losses.append(total)
        elapsed = time.perf_counter() - start
        bar.set_postfix(loss=f"{total:.4g}", images_per_s=f"{images / elapsed:.2f}", refresh=False)
    return StageResult(losses=losses, seconds=time.perf_counter() - start, images=images)


def _schedule(step: int, config: LoopConfig) -> float:
    warmup = max(1, round(config.warmup * config.steps))
    if step <= warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, config.steps - warmup + 1)))
