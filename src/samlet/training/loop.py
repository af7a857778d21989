"""The one training loop: a method brings an objective and a schedule, the loop owns everything else.

One module, though long: a step, its checkpoints and how it is continued must agree, and do so in one place.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from samlet.errors import InputError, SamletError
from samlet.io.progress import progress_bar
from samlet.runs.checkpoints import CheckpointFolder
from samlet.runs.distributed import DistributedContext
from samlet.runs.log import RunLog, say
from samlet.training.averages import WeightAverage
from samlet.training.settings import LoopConfig

Terms = Mapping[str, Tensor]
"""Parts of a loss, scalars, that are logged beside it."""

StepLoss = Callable[[nn.Module, list[Any], Tensor, int], Tensor | tuple[Tensor, Terms]]
"""(objective, photographs, their images (B, 3, H, W) on the device, step) to a scalar loss, and its parts if any."""


class Feed(Protocol):
    """What a stage is fed with; see `samlet.training.batches.ImageDataset`.

    Attributes:
        skipped: what cannot be used, with the reason.
    """

    skipped: dict[Path, str]

    def stream(self, positions: Iterable[int]) -> Iterator[Any]:
        """What stands at each position: at least its `image`, (3, H, W)."""
        ...

    def restore_skipped(self, skipped: dict[str, str]) -> None:
        """Know again what an earlier session could not use."""
        ...


Validation = Callable[[], Mapping[str, float]]
"""Measures the model as it is now; `error` is what a plateau is seen by."""


CHECKPOINT_SECONDS = 60.0
_LONGEST_WARMUP = 200


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What a stage did.

    Attributes:
        losses: loss of each step.
        seconds: of its steps, in all sessions.
        images: photographs seen.
        validation: last measured.
        earlier: of its seconds, those of earlier sessions.
    """

    losses: list[float]
    seconds: float
    images: int
    validation: dict[str, float]
    earlier: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A named part of a run.

    Attributes:
        name: shown beside the progress bar and in the log.
        first_step: steps that the stages before take.
        checkpoints: where to; None for nowhere.
        state: kept in every checkpoint for whoever resumes.
    """

    name: str
    first_step: int = 0
    checkpoints: CheckpointFolder | None = None
    state: dict[str, Any] | None = None


def train(
    engine: DistributedContext,
    objective: nn.Module,
    step_loss: StepLoss,
    photographs: Feed,
    config: LoopConfig,
    stage: Stage,
    log: RunLog | None = None,
    validate: Validation | None = None,
    rate_of: Callable[[str], float] = lambda _: 1.0,
) -> StageResult:
    """Train an objective's parameters in place with Adam, from the newest checkpoint of the stage if there is one.

    Step s of a stage takes the photographs at positions batch_size · (first_step + s) onwards; processes share them.
    Parameters that want no gradient stay as they are. `rate_of` says by what the learning rate of a parameter, given by
    name, is multiplied.

    Raises:
        InputError: a batch that the processes cannot share.
        SamletError: the loss is no number any more, or a checkpoint cannot be written.
    """
    if config.batch_size % engine.world:
        raise InputError(
            f"batch size {config.batch_size} cannot be shared by {engine.world} processes; expected a multiple of that"
        )
    log = log or RunLog(None)
    parameters = {name: value for name, value in objective.named_parameters() if value.requires_grad}
    adam = torch.optim.Adam(_groups(parameters, rate_of, config.learning_rate))
    model, optimizer = engine.set_up(objective, adam)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(adam, factor=0.5, patience=max(0, config.patience - 1))
    average = None if config.average is None else WeightAverage(parameters, config.average)
    done, earlier_seconds, validation = _resume(engine, stage, parameters, adam, average, plateau, photographs, log)

    share, micro = shares(config, engine)
    first = config.batch_size * stage.first_step
    positions = (
        first + step * config.batch_size + engine.rank + engine.world * i
        for step in range(done, config.steps)
        for i in range(share)
    )
    source = photographs.stream(positions)
    bar = progress_bar(stage.name, "step", config.steps, done, engine.is_main)
    start = saved_at = time.perf_counter()
    paused = 0.0

    def save(step: int) -> None:
        if stage.checkpoints is not None and engine.is_main:
            scheduled = {k: v for k, v in plateau.state_dict().items() if isinstance(v, int | float | list)}
            state = {
                "seconds": earlier_seconds + time.perf_counter() - start - paused,
                "validation": validation,
                "plateau": scheduled,
                "skipped": {str(path): reason for path, reason in photographs.skipped.items()},
                **(stage.state or {}),
            }
            averages = {} if average is None else average.tensors()
            stage.checkpoints.save(step, {**parameters, **_adam_tensors(adam, parameters), **averages}, state)

    with bar:
        if not config.steps and validate is not None:
            validation = dict(validate())
            if engine.is_main:
                log.add(
                    stage.name, 0, stage.first_step, {f"validation_{k}": number for k, number in validation.items()}
                )
        if not done:
            save(0)
        for step in range(done, config.steps):
            if config.schedule != "plateau":
                for group in adam.param_groups:
                    group["lr"] = group["share"] * config.learning_rate * _schedule(step + 1, config)
            learning_rate = adam.param_groups[0]["lr"] / adam.param_groups[0]["share"]
            optimizer.zero_grad(set_to_none=True)
            sums: dict[str, float] = defaultdict(float)
            for i in range(0, share, micro):
                batch = list(islice(source, micro))
                images = torch.stack([photograph.image for photograph in batch]).to(engine.device)
                answer = step_loss(model, batch, images, step)
                loss, terms = answer if isinstance(answer, tuple) else (answer, {})
                engine.backward(model, loss * (micro / share), last=i + micro == share)
                for name, term in {"loss": loss, **terms}.items():
                    sums[name] += float(term.detach()) * micro / share
            means = (engine.sum(torch.tensor(list(sums.values()), dtype=torch.float64)) / engine.world).tolist()
            measured = dict(zip(sums, means, strict=True))
            value = measured["loss"]
            norm = float(nn.utils.clip_grad_norm_(parameters.values(), config.clip))
            if not (math.isfinite(value) and math.isfinite(norm)):
                raise SamletError(_diverged(value, norm, step, config, stage))
            optimizer.step()
            if average is not None:
                average.update(step)
            elapsed = time.perf_counter() - start - paused
            rate = (step + 1 - done) * config.batch_size / elapsed
            values = {
                **measured,
                "learning_rate": learning_rate,
                "gradient_norm": norm,
                "images_per_second": rate,
            }
            last = step + 1 == config.steps
            if validate is not None and (last or (config.validate_every and (step + 1) % config.validate_every == 0)):
                began = time.perf_counter()
                with nullcontext() if average is None else average.in_place():
                    validation = dict(validate())
                values |= {f"validation_{name}": number for name, number in validation.items()}
                if config.schedule == "plateau":
                    plateau.step(validation["error"])
                paused += time.perf_counter() - began
            if engine.is_main:
                log.add(stage.name, step + 1, stage.first_step, values)
            bar.set_postfix(loss=f"{value:.4g}", images_per_s=f"{rate:.2f}", refresh=False)
            bar.update()
            now = time.perf_counter()
            due = (step + 1) % config.checkpoint_every == 0 if config.checkpoint_every else False
            if last or due or (not config.checkpoint_every and now - saved_at > CHECKPOINT_SECONDS):
                save(step + 1)
                saved_at = time.perf_counter()
                paused += saved_at - now
    if average is not None:
        average.take()
    seconds = earlier_seconds + time.perf_counter() - start - paused
    losses = log.values(stage.name, "loss")[1]
    return StageResult(
        losses=losses,
        seconds=seconds,
        images=config.steps * config.batch_size,
        validation=validation,
        earlier=earlier_seconds,
    )


def shares(config: LoopConfig, engine: DistributedContext) -> tuple[int, int]:
    """Photographs of a step that this process computes, and those at once."""
    share = config.batch_size // engine.world
    return share, max(m for m in range(1, min(config.micro_batch, share) + 1) if share % m == 0)


def seconds_of_step(
    engine: DistributedContext,
    objective: nn.Module,
    step_loss: StepLoss,
    photographs: Feed,
    config: LoopConfig,
    batches: Sequence[tuple[int, Sequence[int]]],
) -> float:
    """Seconds that one step takes: a few batches are computed with their gradients, which are thrown away.

    Args:
        engine: where.
        objective: what would be trained; it stays as it is.
        step_loss: as for `train`.
        photographs: likewise.
        config: batch sizes are read.
        batches: step of the stage and positions of the photographs of each; the first is computed twice, to warm up.
    """
    seconds = []
    for step, positions in [batches[0], *batches]:
        start = time.perf_counter()
        batch = list(photographs.stream(positions))
        images = torch.stack([photograph.image for photograph in batch]).to(engine.device)
        with engine.compute():
            answer = step_loss(objective, batch, images, step)
        (answer[0] if isinstance(answer, tuple) else answer).backward()
        objective.zero_grad(set_to_none=True)
        if engine.device.type == "cuda":
            torch.cuda.synchronize(engine.device)
        seconds.append((time.perf_counter() - start) / len(batch))
    return shares(config, engine)[0] * sum(seconds[1:]) / len(batches)


def _resume(
    engine: DistributedContext,
    stage: Stage,
    parameters: Mapping[str, Tensor],
    adam: torch.optim.Adam,
    average: WeightAverage | None,
    plateau: torch.optim.lr_scheduler.ReduceLROnPlateau,
    photographs: Feed,
    log: RunLog,
) -> tuple[int, float, dict[str, float]]:
    """Put everything back as the newest checkpoint has it: steps done, seconds taken, last validation."""
    checkpoint = None
    if stage.checkpoints is not None:
        checkpoint = engine.from_main(stage.checkpoints.newest() if engine.is_main else None)
        where = f"continuing from step {checkpoint.step}" if checkpoint else "beginning the stage again"
        for reason in stage.checkpoints.damaged:
            say(f"a checkpoint is damaged, {where}: {reason}")
    if checkpoint is None:
        if engine.is_main:
            log.rewind(stage.name, 0)
        return 0, 0.0, {}
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(checkpoint.tensors[name])
    _restore_adam(adam, parameters, checkpoint.tensors)
    if average is not None:
        average.restore(checkpoint.tensors)
    plateau.load_state_dict(checkpoint.state["plateau"])
    for group, rate in zip(adam.param_groups, checkpoint.state["plateau"].get("_last_lr", []), strict=False):
        group["lr"] = rate
    photographs.restore_skipped(checkpoint.state["skipped"])
    if engine.is_main:
        log.rewind(stage.name, checkpoint.step)
    return checkpoint.step, float(checkpoint.state["seconds"]), dict(checkpoint.state["validation"])


def _groups(
    parameters: Mapping[str, Tensor], rate_of: Callable[[str], float], learning_rate: float
) -> list[dict[str, Any]]:
    """Parameters of one learning rate together, the highest first."""
    shares: dict[float, list[Tensor]] = defaultdict(list)
    for name, parameter in parameters.items():
        shares[rate_of(name)].append(parameter)
    return [
        {"params": shares[share], "lr": learning_rate * share, "share": share} for share in sorted(shares, reverse=True)
    ]


_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def _adam_tensors(adam: torch.optim.Adam, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        f"adam.{moment}.{name}": adam.state[parameter][moment]
        for name, parameter in parameters.items()
        if parameter in adam.state
        for moment in _MOMENTS
    }


def _restore_adam(adam: torch.optim.Adam, parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    for name, parameter in parameters.items():
        if f"adam.step.{name}" in tensors:
            state = {m: tensors[f"adam.{m}.{name}"] for m in _MOMENTS}
            moments = {m: torch.empty_like(parameter).copy_(state[m]) for m in _MOMENTS[1:]}
            adam.state[parameter] = {"step": state["step"], **moments}


def _diverged(value: float, norm: float, step: int, config: LoopConfig, stage: Stage) -> str:
    what = f"loss became {value}" if not math.isfinite(value) else f"gradient's norm became {norm}"
    steps = stage.checkpoints.steps() if stage.checkpoints is not None else []
    kept = (
        f"; the checkpoint of step {steps[-1]} is in {stage.checkpoints.folder}" if stage.checkpoints and steps else ""
    )
    return (
        f"{stage.name}: the {what} at step {step + 1} of {config.steps} with learning rate {config.learning_rate:g}; "
        f"lower it with --learning-rate{kept}"
    )


def _schedule(step: int, config: LoopConfig) -> float:
    """The learning rate of a step, counted from 1, as a share of its peak.

    What torch's LinearLR and CosineAnnealingLR give in sequence (a test compares them), as a function of the step: a
    run that continues has no state of them to restore, and rates of groups need no scheduler of their own.
    """
    warmup = max(1, min(round(config.warmup * config.steps), _LONGEST_WARMUP))
    if step <= warmup:
        return step / warmup
    if config.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, config.steps - warmup + 1)))
