"""`samlet distill`."""

from __future__ import annotations

import argparse
from typing import Any

from samlet.baselines.loading import load_any
from samlet.cli.common import set_up, show, tell_left_out
from samlet.cli.options import config_from
from samlet.data.datasets import Dataset, open_dataset
from samlet.distillation import report
from samlet.distillation.config import DistillConfig
from samlet.distillation.folder import WRITTEN, Labelling, distill_into
from samlet.errors import InputError
from samlet.runs.extras import need_training
from samlet.training.budget import Clock


def run(options: argparse.Namespace) -> None:
    """Distil one student into a new folder, or continue where an earlier session ended."""
    found = execute(options)
    if found is not None:
        show(options, *found)


def check(options: argparse.Namespace) -> tuple[DistillConfig, Dataset]:
    """The settings and the photographs that the options say.

    Raises:
        InputError: one of them cannot work.
    """
    if options.limit is not None and options.limit < 2:
        raise InputError(f"--limit is {options.limit}; expected at least 2: some to train on, some to measure on")
    return config_from(options, DistillConfig), open_dataset(options.data, options.images).head(options.limit)


def execute(options: argparse.Namespace) -> tuple[dict[str, Any], str] | None:
    """As `run`, but the JSON content and the text are returned; None in any process but the main one."""
    need_training("distilling")
    config, dataset = check(options)
    tell_left_out(dataset)
    device = set_up(options)
    how = Labelling(
        labeller=None if options.labeller is None else load_any(options.labeller, device, options.threads),
        name=options.labeller or "the teacher",
        pred_iou_thresh=options.pred_iou_thresh,
        stability_score_thresh=options.stability_score_thresh,
        limit=options.limit,
    )
    made = distill_into(
        options.out,
        options.teacher,
        options.student,
        dataset,
        config,
        labelling=how,
        device=options.device,
        overwrite=options.overwrite,
        clock=Clock(began=options.began, reports=True),
        store=options.store,
    )
    return None if made is None else (made.content, f"{report.table(made.run)}\n\n{options.out}: {WRITTEN}")
