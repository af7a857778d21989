"""A budget of time in place of a number of steps: the first batches are timed, and the number of steps follows.

The steps are counted before the first of them is taken, so a run by `--minutes` is a run by `--steps` whose number was
found by the clock: the same number gives the same weights.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from samlet.runs.distributed import DistributedContext
from samlet.runs.folder import RunFolder
from samlet.runs.log import say

_NAME = "budget"

VALIDATION_SHARE = 0.06
"""Share of the time that measuring on the photographs held out may take."""


@dataclass(frozen=True, kw_only=True)
class Clock:
    """When the time of a run began, and what comes after the training.

    Attributes:
        began: `time.perf_counter()` when the user began to wait.
        reports: whether figures and a report follow the training, in the same time.
    """

    began: float = field(default_factory=time.perf_counter)
    reports: bool = False

    @property
    def elapsed(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self.began


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a budget of time allows.

    Attributes:
        steps: optimizer steps in all, as `--steps` counts them.
        validations: measurements of each stage; the last is after its last step.
        expected: seconds that the whole run will take.
        fits: whether that is within the budget; if not, the fewest steps take longer already.
    """

    steps: int
    validations: int
    expected: float
    fits: bool


def plan(
    minutes: float, fixed: float, stages: Sequence[float], validation: float, least: int, most_validations: int = 12
) -> Plan:
    """The number of steps that fit.

    Args:
        minutes: the budget.
        fixed: seconds that everything but steps and validations takes, what is over already included.
        stages: seconds of one step in each stage; all stages have the same number of steps.
        validation: seconds of one measurement on the photographs held out.
        least: fewest steps in all.
        most_validations: of each stage.
    """
    count, seconds = len(stages), 60 * minutes
    free = seconds - fixed
    validations = int(VALIDATION_SHARE * max(free, 0.0) / max(count * validation, 1e-9))
    validations = min(max(validations, 1), most_validations)
    free -= count * validations * validation
    steps = max(count * int(free / sum(stages)), least)
    expected = fixed + count * validations * validation + steps / count * sum(stages)
    return Plan(steps=steps, validations=validations, expected=expected, fits=expected <= 1.1 * seconds)


def counted(
    workspace: RunFolder | None, engine: DistributedContext, minutes: float, count: Callable[[], Plan], also: str = ""
) -> Plan:
    """The plan that an earlier session of the run made, or a new one, which is written down and said.

    Args:
        workspace: where the run writes down what it goes by; None for nowhere.
        engine: process 0 decides for all.
        minutes: the budget.
        count: makes the plan; called in every process.
        also: options that, with --steps, make the same weights.
    """
    noted = engine.from_main(workspace.noted(_NAME) if workspace is not None and engine.is_main else None)
    if noted is not None:
        return Plan(**noted)
    found = engine.from_main(count())
    if engine.is_main:
        if workspace is not None:
            workspace.note(_NAME, dataclasses.asdict(found))
        say(_explained(minutes, found, also))
    return found


def _explained(minutes: float, found: Plan, also: str) -> str:
    if found.fits:
        return f"{minutes:g} minutes allow {found.steps} steps; --steps {found.steps}{also} makes the same weights"
    return (
        f"{minutes:g} minutes are too few here; going on with the fewest steps, {found.steps}, in about "
        f"{found.expected / 60:.1f} minutes"
    )
