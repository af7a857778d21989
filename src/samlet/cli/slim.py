"""`samlet slim`."""

from __future__ import annotations

import argparse
import shlex
import time
from pathlib import Path
from typing import Any

import torch

from samlet.cli import distill
from samlet.cli.common import load_to_run, note, set_up, show
from samlet.cli.options import config_from
from samlet.cli.parsers import build_parser
from samlet.data.datasets import open_dataset
from samlet.errors import InputError
from samlet.io.paths import expanded
from samlet.models import EncoderConfig, Sam
from samlet.runs.extras import need_training
from samlet.runs.folder import RunFolder
from samlet.slimming import report
from samlet.slimming.config import SlimConfig
from samlet.slimming.folder import WRITTEN, slim_into
from samlet.training.budget import Clock


def run(options: argparse.Namespace) -> None:
    """Slim one model into a new folder, or continue where an earlier session ended; then distil it, if asked to."""
    if options.then is None:
        found = _slim(options, options.out)
    else:
        second = _second(options)
        distill.check(second)  # before hours of slimming
        slimmed = second.student = str(_beside(options.out, "slimmed"))
        done = RunFolder(Path(slimmed)).finished and not options.overwrite
        first = ({}, f"{slimmed} was slimmed before") if done else _slim(options, Path(slimmed))
        if done:
            note(f"samlet: {slimmed} is slimmed already; distilling it")
        second.began = time.perf_counter()
        last = distill.execute(second)
        found = None
        if first is not None and last is not None:
            found = {**first[0], "distill": last[0]}, f"{first[1]}\n\n{last[1]}"
    if found is not None:
        show(options, *found)


def _second(options: argparse.Namespace) -> argparse.Namespace:
    """The options of the command that follows; what it does not say is as in this one."""
    try:
        words = shlex.split(options.then)
    except ValueError as error:
        raise InputError(f"--then {options.then!r} cannot be read: {error}; close what is opened") from error
    if words[:1] != ["distill"]:
        raise InputError(f"--then {options.then!r} is unknown; expected distill, or in quotes distill with its options")
    same = {
        "--teacher": options.teacher,
        "--student": _beside(options.out, "slimmed"),
        "--data": options.images,
        "--out": options.out,
        "--image-size": options.image_size,
        "--seed": options.seed,
        "--threads": options.threads,
        "--device": options.device,
        "--precision": options.precision,
        "--micro-batch": options.micro_batch,
        "--store": options.store,
    }
    for name, value in same.items():
        if name in words and name in ("--teacher", "--student", "--out"):
            raise InputError(f"{name} in --then is what `samlet slim` says; leave it out there")
        if name not in words and value is not None:
            words += [name, str(value)]
    words += ["--overwrite"] if options.overwrite else []
    return build_parser().parse_args(words)


def _beside(out: Path, what: str) -> Path:
    out = expanded(out).resolve()
    return out.with_name(f"{out.name}-{what}")


def _slim(options: argparse.Namespace, out: Path) -> tuple[dict[str, Any], str] | None:
    """JSON content and text; None in any process but the main one."""
    need_training("slimming")
    config = config_from(
        options,
        SlimConfig,
        like=None if options.like is None else encoder_config(options.like),
        whole_heads=None if options.heads == "auto" else options.heads == "whole",
    )
    labels = None if options.labels is None else open_dataset(options.labels, _images_of_labels(options))
    set_up(options)
    made = slim_into(
        out,
        options.teacher,
        options.images,
        config,
        labels=labels,
        student=options.student,
        device=options.device,
        overwrite=options.overwrite,
        clock=Clock(began=options.began, reports=True),
        store=options.store,
    )
    return None if made is None else (made.content, f"{report.table(made.figures)}\n\n{out}: {WRITTEN}")


def encoder_config(model: str) -> EncoderConfig:
    """The shape of a model's encoder."""
    found = load_to_run(model, torch.device("cpu"))
    if not isinstance(found, Sam):
        raise InputError(f"{model} is an exported model; expected one of weights, to take widths from")
    return found.config.encoder


def _images_of_labels(options: argparse.Namespace) -> Path | None:
    """Where the labelled photographs are: beside their labels, or among those to slim with."""
    folder: Path = options.labels
    if folder.is_dir() and any(folder.glob("*.json")) and not any(p.suffix != ".json" for p in folder.iterdir()):
        return options.images
    return None
