"""From a budget to the widths of a run: scores, photographs to probe with, and what the budget counts."""

from __future__ import annotations

import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from samlet.errors import InputError
from samlet.evaluation.costs import latency
from samlet.io.progress import progress_bar
from samlet.models import ImageEncoder, Sam, build_encoder
from samlet.runs.folder import RunFolder
from samlet.runs.log import say
from samlet.slimming.allocation import Allocation, Search, Unreachable
from samlet.slimming.budget import Budget, in_words
from samlet.slimming.latencies import LatencyModel, LatencyTable, designs, measure_table, read_table
from samlet.slimming.probing import Probe
from samlet.slimming.scoring import Scorer
from samlet.slimming.selection import Kept
from samlet.slimming.surgery import config_with
from samlet.slimming.width_parts import Channels, parts_of
from samlet.slimming.widths import WidthCost, Widths
from samlet.training.batches import ImageDataset

_IMAGE_SIZE = 256  # pixels, at most: where parts rank as they do at 512
_FITTED, _CHECKED = 16, 8  # photographs or views
_ALLOCATION, _PROBES = "allocation", "probes"
_CLOSE, _CORRECTIONS = 0.03, 4  # how near a measured latency comes to the target
_TURNS = 5


def allocate(
    teacher: Sam, encoder: ImageEncoder, kinds: Sequence[str], scorer: Scorer, workspace: RunFolder | None
) -> Allocation:
    """Search the widths that a budget allows; what an earlier session of the run found is taken as it is.

    Args:
        teacher: whose encoder the budget is a share of.
        encoder: to cut, the teacher's or what an earlier stage left of it.
        kinds: of the groups that are cut.
        scorer: with settings and photographs.
        workspace: where results are kept for a run that is continued.

    Raises:
        InputError: a budget that cannot be met, or that nothing has to be cut for.
    """
    engine = scorer.engine
    noted = engine.from_main(workspace.noted(_ALLOCATION) if workspace is not None and engine.is_main else None)
    if noted is not None:
        return Allocation(**noted)
    if scorer.config.cuts_heads and "bottleneck" in kinds:
        kinds = (*kinds, "head")
    scores = scorer.scores(encoder, [g for g in encoder.channel_groups() if g.kind in kinds])
    found: Allocation | InputError | None = None
    if engine.is_main:  # the others wait, and hear of what went wrong
        try:
            found = _searched(teacher, encoder, kinds, scores, scorer, workspace)
        except InputError as error:
            found = error
    found = engine.from_main(found)
    if isinstance(found, InputError):
        raise found
    assert found is not None
    if workspace is not None and engine.is_main:
        workspace.note(_ALLOCATION, found.to_dict())
    return found


def _searched(
    teacher: Sam,
    encoder: ImageEncoder,
    kinds: Sequence[str],
    scores: Mapping[str, torch.Tensor],
    scorer: Scorer,
    workspace: RunFolder | None,
) -> Allocation:
    """See `allocate`."""
    config, budget = scorer.config, scorer.config.budget
    assert budget is not None
    price, whole, real = _prices(teacher, encoder, scorer, budget)
    target = budget.of(whole)
    current = price({})
    if target >= current:
        raise InputError(
            f"{config.size} was asked for, {in_words(budget.quantity, target)}, and the encoder costs "
            f"{in_words(budget.quantity, current)} as it is; ask for less"
        )
    with tempfile.TemporaryDirectory(prefix="samlet-probes-") as temporary:
        channels = Channels(parts_of(encoder, kinds), scores, config.selection)
        error = _Remembered(
            lambda: Probe(encoder, *_pictures(scorer.photographs), Path(temporary), config.seed), workspace
        )
        search = Search(channels=channels, error=error, cost=price)
        find, measurements = (search, search.measurements) if config.widths == "searched" else (search.even, 1)
        with progress_bar("searching widths", "cut", measurements) as error.bar:
            try:
                return _met(find, target, real)
            except Unreachable as found:
                raise InputError(
                    f"{config.size} was asked for, {in_words(budget.quantity, target)}, and the smallest widths cost "
                    f"{in_words(budget.quantity, found.least)}; expected at least that, which is "
                    f"{found.least / whole:.3g} of the teacher's"
                ) from found


class _Remembered:
    """Errors that are measured once, also over sessions of a run.

    Args:
        probe: makes what measures.
        workspace: where they are written down; None for nowhere.
    """

    def __init__(self, probe: Callable[[], Probe], workspace: RunFolder | None) -> None:
        self._make_probe, self._workspace = probe, workspace
        self._probe: Probe | None = None
        self._known: dict[str, float] = dict((workspace.noted(_PROBES) or {}) if workspace is not None else {})
        self.bar: Any = None

    def __call__(self, kept: Kept) -> float:
        described = json.dumps({name: channels.tolist() for name, channels in sorted(kept.items())})
        key = hashlib.sha256(described.encode()).hexdigest()[:16]
        if key not in self._known:
            self._probe = self._probe or self._make_probe()
            self._known[key] = self._probe(kept)
            if self._workspace is not None:
                self._workspace.note(_PROBES, self._known)
        self.bar.update()
        return self._known[key]


def _prices(
    teacher: Sam, encoder: ImageEncoder, scorer: Scorer, budget: Budget
) -> tuple[Callable[[Widths], float], float, Callable[[Widths], float] | None]:
    """Cost by widths; cost of the teacher's encoder; and a measured cost where the first is reckoned."""
    size = teacher.image_size
    if budget.quantity != "latency":
        now, before = (WidthCost(one, size) for one in (encoder, teacher.image_encoder))
        count = {"macs": WidthCost.macs, "parameters": WidthCost.parameters}[budget.quantity]
        return lambda widths: count(now, widths), count(before, {}), None
    path = scorer.config.latency_table
    if path is not None:
        table = read_table(path, encoder)
        if teacher.image_encoder.config == encoder.config:
            return LatencyModel(table, encoder), table.whole, None
        raise InputError(f"latency table {path} is of the whole encoder, and a stage alone begins from a cut one")
    table = this_machine(encoder, size)

    whole = _seconds(teacher.image_encoder, size)

    def measured(widths: Widths) -> float:
        shape = build_encoder(config_with(encoder, widths)).requires_grad_(False).to(teacher.device, teacher.dtype)
        if budget.shared:
            return whole * _share_of_time(_pass(shape, size), _pass(teacher.image_encoder, size))
        return _seconds(shape, size)

    return LatencyModel(table, encoder), whole, measured


def this_machine(encoder: ImageEncoder, image_size: int) -> LatencyTable:
    """The encoder's latency table of this machine, under a progress bar."""
    with progress_bar("timing widths", "encoder", len(designs(encoder))) as bar:
        return measure_table(encoder, image_size, bar.update)


def _seconds(encoder: ImageEncoder, image_size: int) -> float:
    return latency(_pass(encoder, image_size), next(encoder.parameters()).device)


def _pass(encoder: ImageEncoder, image_size: int) -> Callable[[], None]:
    """A pass of the encoder over one image, done when it returns."""
    parameter = next(encoder.parameters())
    image = torch.zeros(1, 3, image_size, image_size, device=parameter.device, dtype=parameter.dtype)

    def run() -> None:
        encoder(image)
        if parameter.device.type == "cuda":
            torch.cuda.synchronize(parameter.device)

    return run


def _share_of_time(one: Callable[[], object], whole: Callable[[], object]) -> float:
    """How long one takes as a share of the other, timed in turns: a machine that is busier now than before slows both.

    The median over the turns, after one to warm up.
    """
    shares = []
    for _ in range(_TURNS + 1):
        times = [time.perf_counter()]
        for run in (one, whole):
            run()
            times.append(time.perf_counter())
        shares.append((times[1] - times[0]) / (times[2] - times[1]))
    return statistics.median(shares[1:])


def _met(search: Callable[[float], Allocation], target: float, real: Callable[[Widths], float] | None) -> Allocation:
    """The search, repeated with a corrected target until what is measured meets the true one."""
    found = search(target)
    asked = target
    for _ in range(_CORRECTIONS if real is not None else 0):
        assert real is not None
        seconds = real(found.widths)
        say(f"the widths found take {seconds * 1000:.0f} ms here; {target * 1000:.0f} ms were asked for")
        if abs(seconds / target - 1) <= _CLOSE:
            break
        asked *= target / seconds
        found = search(asked)
    return found


def _pictures(photographs: ImageDataset) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Small views to refit on and others to measure on; the same ones where there are too few."""
    size = min(_IMAGE_SIZE, photographs.image_size)
    small = photographs.resized(size)
    pictures = [view.image for view in small.views(0, _FITTED + _CHECKED)]
    checked = pictures[:_CHECKED] if len(pictures) > _CHECKED else pictures
    return pictures[_CHECKED:] or pictures, checked
