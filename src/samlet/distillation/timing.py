"""How many steps of distillation fit into a budget of time: a few photographs are timed before the first step."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from samlet.distillation.config import DistillConfig
from samlet.distillation.examples import Examples
from samlet.distillation.objective import FullStage, rounds_of
from samlet.runs.distributed import DistributedContext
from samlet.training.budget import Clock, Plan, plan
from samlet.training.loop import StepLoss, seconds_of_step, shares

_TIMED = 3
"""Photographs that are timed, after one to warm up; batches where several are computed at once."""
_NEAR = 0.5
"""How far the mean number of rounds of a photograph that is timed may be from that of all."""
_REPORT_VALIDATIONS, _REPORT_SECONDS = 0.6, 2.0
"""What the report takes after the training: in first measurements on the photographs held out, and beside that."""


@dataclass(frozen=True)
class Trial:
    """What is timed.

    Attributes:
        objective: of the run, untrained.
        step_loss: its loss.
        examples: photographs to train on.
        config: settings.
        engine: where.
        measured: seconds that the first measurement on the photographs held out took.
        held_out: their number.
    """

    objective: FullStage
    step_loss: StepLoss
    examples: Examples
    config: DistillConfig
    engine: DistributedContext
    measured: float
    held_out: int


def steps_within(minutes: float, clock: Clock, trial: Trial) -> Plan:
    """Steps for a distillation.

    A step takes the longer the more rounds its prompts draw, so photographs with about the mean number are timed. The
    teacher's embedding of a photograph is computed once, if photographs stay as they are.
    """
    config, engine, examples = trial.config, trial.engine, trial.examples
    loop = config.loop(1, len(examples.indices))
    share, together = shares(loop, engine)
    typical = (at for at in range(10**6) if abs(rounds_of(config, at).mean() - config.rounds / 2) <= _NEAR)
    batches = [(0, [next(typical) for _ in range(together)]) for _ in range(_TIMED)]
    step = seconds_of_step(engine, trial.objective, trial.step_loss, examples, loop, batches)
    began = time.perf_counter()
    with torch.no_grad(), engine.compute():
        trial.objective.teacher_embedding(examples.at(batches[0][1][0]), engine.device)
    teacher = time.perf_counter() - began
    alone = max(trial.measured - trial.held_out * teacher / engine.world, trial.measured / 3)
    fixed = clock.elapsed + (_REPORT_SECONDS + _REPORT_VALIDATIONS * trial.measured if clock.reports else 0.0)
    if config.augment:
        return plan(minutes, fixed, [step], alone, least=1)
    known = max(step - share * teacher, step / 4)
    once = len(examples.indices) * teacher / engine.world
    found = plan(minutes, fixed + once, [known], alone, least=1)
    if found.steps * config.batch_size >= len(examples.indices):
        return found
    return plan(minutes, fixed, [step], alone, least=1)  # no photograph comes twice
