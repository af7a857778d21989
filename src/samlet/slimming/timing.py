"""How many steps of slimming fit into a budget of time: every part of the work is timed once, small, before the first.

The shapes of the second half are known before its weights are: a cut by magnitudes has the shape of the real one, so
its steps can be timed at the start.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from samlet.models import ImageEncoder, Sam
from samlet.slimming.scoring import Scorer
from samlet.slimming.surgery import cut_encoder
from samlet.slimming.widths import Widths
from samlet.training.batches import ImageDataset
from samlet.training.budget import Clock, Plan, plan

_REPORT_VALIDATIONS = 2.4
"""What agreement and pictures take after the training, in measurements of the teacher on the photographs held out."""
_REPORT_SECONDS = 2.0
_LATENCY_RUNS, _LATENCY_SECONDS = 5, 6.0
"""How often latency is measured after a warm-up, and for how long at most; see `evaluation.costs.latency`."""


@dataclass(frozen=True, kw_only=True)
class CutTimes:
    """Seconds that the first cut took.

    Attributes:
        scoring: of one scoring of channels.
        recovery: of refitting the layers.
    """

    scoring: float
    recovery: float


def encoder_seconds(encoder: ImageEncoder, photographs: ImageDataset, device: torch.device) -> float:
    """Seconds of one forward pass of one photograph, without gradients."""
    image = photographs.at(0).image[None].to(device)
    with torch.no_grad():
        start = time.perf_counter()
        encoder(image)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return time.perf_counter() - start


def provisional(scorer: Scorer, encoder: ImageEncoder, kinds: Sequence[str], widths: Widths | None) -> ImageEncoder:
    """An encoder of about the shape that a cut of these kinds will have."""
    by_magnitude = replace(scorer, config=replace(scorer.config, importance="magnitude"))
    return cut_encoder(encoder, by_magnitude.choose(encoder, kinds, widths))


def steps_within(
    minutes: float,
    clock: Clock,
    *,
    first: CutTimes,
    stages: Sequence[float],
    forward: Sequence[float],
    measure: Callable[[], object],
    scorings: int,
    teacher: Sam,
    image_size: int,
) -> Plan:
    """Steps in all for a slimming whose first cut is made.

    Args:
        minutes: the budget.
        clock: when it began.
        first: what the first cut took.
        stages: seconds of a step of each stage.
        forward: seconds of a forward pass of the encoder before each cut, and of the last one.
        measure: one measurement on the photographs held out, the first, which asks the teacher too.
        scorings: how often channels are scored for the second cut.
        teacher: the model; its own image size is what latency is measured at.
        image_size: side of the encoder's input while slimming, pixels.
    """
    began = time.perf_counter()
    measure()
    both = time.perf_counter() - began
    alone = both * forward[1] / (forward[0] + forward[1])
    later = 0.0
    if len(stages) > 1:
        smaller = (forward[1] + forward[2]) / (forward[0] + forward[1])
        later = scorings * first.scoring * forward[1] / forward[0] + first.recovery * smaller
    if clock.reports:
        later += _REPORT_SECONDS + _REPORT_VALIDATIONS * both
        for seconds in (forward[0], forward[-1]):
            once = seconds * (teacher.image_size / image_size) ** 2
            later += once * (1 + max(1, min(_LATENCY_RUNS, int(_LATENCY_SECONDS / max(once, 1e-9)))))
    return plan(minutes, clock.elapsed + later, stages, alone, least=2)
