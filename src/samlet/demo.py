"""A first look at samlet: one photograph segmented, a model slimmed in minutes, and a page that shows both."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from samlet.data.bundled import CLICKS, bundled_photographs
from samlet.data.images import read_image
from samlet.data.masks import mask_iou
from samlet.errors import InputError
from samlet.inference import Predictor
from samlet.io.paths import expanded
from samlet.io.writing import new_file
from samlet.models import EncoderConfig, Sam, SamConfig
from samlet.reporting import page as html
from samlet.reporting.overlay import draw_masks, draw_prompts
from samlet.runs.extras import need_training
from samlet.runs.log import say
from samlet.slimming.config import SlimConfig
from samlet.slimming.folder import Slimmed, slim_into
from samlet.training.budget import Clock
from samlet.zoo import load_weights

TEACHER, MODEL = "mobile_sam", "small"
IMAGE_SIZE = 512
_WIDTHS = "widths_11g.json"
"""Beside the teacher: what `samlet slim --macs 11.4G` has found for it, which takes longer than a demo."""
_VIEWS = 24  # for recovery: more gain nothing that can be seen here
_FIRST = "dogs.jpg"
_PAGE, _PHOTOGRAPH, _SEGMENTED = "index.html", "photo.jpg", "segmented.jpg"
_OURS = {_PAGE, _PHOTOGRAPH, _SEGMENTED, MODEL}
_TEXT = (
    "One click on photographs that slimming never saw: the masks of the teacher, of the same model right after "
    "channels were cut, and of the small model when it had learned from its teacher. IoU says how far a mask agrees "
    "with the teacher's, 1.00 is all the way."
)


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What the demo made.

    Attributes:
        segment_seconds: from the start until the first mask was on disk.
        slimmed: model and figures.
        page: the page.
    """

    segment_seconds: float
    slimmed: Slimmed
    page: Path


def demo(
    out: Path,
    minutes: float = 4.0,
    *,
    clock: Clock | None = None,
    overwrite: bool = False,
    seed: int = 0,
    image_size: int = IMAGE_SIZE,
) -> Demo:
    """Segment a bundled photograph, slim the bundled model on the bundled photographs, and write a page.

    A demo that was stopped continues in the same folder.

    Args:
        out: a new folder, or that of an unfinished demo.
        minutes: time of the slimming, its figures included.
        clock: when the user began to wait; now if None.
        overwrite: replace an earlier demo.
        seed: of the slimming.
        image_size: side of the encoder's input while slimming, pixels.

    Raises:
        InputError: a budget that is none, or a folder that holds something else.
        SamletError: training failed.
    """
    clock = clock or Clock()
    config = SlimConfig(
        like=small_encoder(),
        minutes=minutes,
        image_size=image_size,
        seed=seed,
        procedure="one-step",  # one cut leaves more of a few minutes for learning than two
        recovery_images=_VIEWS,
    )
    need_training("the demo")
    out = _claim(out, overwrite)
    teacher = load_weights(TEACHER)
    photograph = next(path for path in bundled_photographs() if path.name == _FIRST)
    _segment(teacher, photograph, out)
    seconds = clock.elapsed
    say(f"a click on {photograph.name} is answered in {out / _SEGMENTED} ({seconds:.0f} s)")
    say(f"slimming {TEACHER} for {minutes:g} minutes on {len(bundled_photographs())} photographs")
    slimmed = slim_into(
        out / MODEL,
        TEACHER,
        bundled_photographs(),
        config,
        overwrite=overwrite,
        clock=Clock(began=time.perf_counter(), reports=True),
    )
    assert slimmed is not None  # there is one process
    with new_file(out / _PAGE) as temporary:
        temporary.write_text(_page(slimmed, out), encoding="utf-8")
    return Demo(segment_seconds=seconds, slimmed=slimmed, page=out / _PAGE)


def small_encoder() -> EncoderConfig:
    """The shape of the small model: a third of the teacher's multiply-accumulates, divided as a search found."""
    found = files("samlet") / "assets" / TEACHER / _WIDTHS
    return SamConfig.from_dict(json.loads(found.read_text(encoding="utf-8"))["config"]).encoder


def _claim(out: Path, overwrite: bool) -> Path:
    """The folder, which holds nothing but a demo."""
    out = expanded(out).resolve()
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; expected a new folder to write to")
    held = {entry.name for entry in out.iterdir()} if out.is_dir() else set()
    if held - _OURS:
        shown = ", ".join(sorted(held - _OURS)[:3])
        raise InputError(f"{out} already holds {shown}; nothing was written. Name a new folder")
    if _PAGE in held and not overwrite:
        raise InputError(
            f"{out} already holds a demo; look at {out / _PAGE}, pass --overwrite (overwrite=True), or "
            "name a new folder"
        )
    if overwrite:
        (out / _PAGE).unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    return out


def _segment(teacher: Sam, photograph: Path, out: Path) -> None:
    """The first click: the photograph and its mask, as pictures."""
    image, click = read_image(photograph), np.array([CLICKS[photograph.name][0]])
    predictor = Predictor(teacher)
    predictor.set_image(image)
    mask = predictor.predict(points=click).best().masks[0, 0]
    with new_file(out / _PHOTOGRAPH) as temporary:
        shutil.copyfile(photograph, temporary)
    with new_file(out / _SEGMENTED) as temporary:
        draw_prompts(draw_masks(image, [mask]), click).save(temporary, format="JPEG", quality=90)


def _page(slimmed: Slimmed, out: Path) -> str:
    """The whole page."""
    run = slimmed.run
    small = f"{slimmed.content['teacher_encoder']['macs_modules'] / slimmed.content['encoder']['macs_modules']:.1f}"
    told = (
        f"{run.steps} steps of {run.config.batch_size} photographs in {run.seconds / 60:.1f} minutes on this machine, "
        f"{len(run.trained_on)} photographs to learn from and no labels. More time and more photographs bring more."
    )
    folder = out / MODEL
    return html.page(
        f"A Segment Anything Model, {small} times cheaper",
        [
            f"<p>{html.text(_TEXT)}</p>",
            *(_row(captions) for captions in comparison(slimmed)),
            "<h2>What it costs and what it kept</h2>",
            _table(slimmed),
            f'<p class="soft">{html.text(told)}</p>',
            "<h2>How it learned</h2>",
            f'<img class="wide" src="{html.drawing(folder / "losses.png")}" alt="loss and agreement over the steps">',
            "<h2>What was cut</h2>",
            f'<img class="wide" src="{html.drawing(folder / "widths.png")}" alt="widths before and after">',
            "<h2>Your turn</h2>",
            *(f"<p>{html.text(what)}</p><pre>{html.text(command)}</pre>" for what, command in next_commands(out)),
        ],
    )


def _row(cells: Sequence[tuple[Image.Image, str]]) -> str:
    figures = "".join(html.figure(html.photograph(picture), caption) for picture, caption in cells)
    return f'<div class="row">{figures}</div>'


def comparison(slimmed: Slimmed) -> list[list[tuple[Image.Image, str]]]:
    """One row for each click on the photographs held out: teacher, raw and aligned, each with its caption."""
    run = slimmed.run
    predictors = [Predictor(sam, run.image_size) for sam in (run.teacher, run.pruned, run.sam)]
    rows = []
    for path in run.held_out:
        image = read_image(path)
        for predictor in predictors:
            predictor.set_image(image)
        for click in CLICKS[path.name]:
            point = np.array([click])
            masks = [p.predict(points=point, multimask=False).masks[0, 0] for p in predictors]
            names = ["teacher"]
            names += [f"{n}: IoU {mask_iou(masks[0], m):.2f}" for n, m in zip(("cut", "small"), masks[1:], strict=True)]
            drawn = [draw_prompts(draw_masks(image, [mask]), point) for mask in masks]
            rows.append(list(zip(drawn, names, strict=True)))
    return rows


def _table(slimmed: Slimmed) -> str:
    figures, run = slimmed.figures, slimmed.run
    before, after = figures.teacher_cost, figures.cost

    def row(name: str, value: Callable[[Any], str]) -> list[str]:
        return [name, value(before), value(after), value(after)]

    agreement = [1.0, figures.pruned.miou["single"], figures.aligned.miou["single"]]
    sizes = [4 * cost.parameters for cost in (before, after, after)]
    rows = [
        row("parameters, whole model", lambda c: f"{c.parameters / 1e6:.2f} M"),
        row("parameters, encoder", lambda c: f"{c.encoder.parameters / 1e6:.2f} M"),
        row(f"encoder MACs at {after.image_size} px", lambda c: f"{c.encoder.macs_modules / 1e9:.1f} G"),
        row("encoder time here", lambda c: f"{1000 * (c.encoder.latency_s or 0):.0f} ms"),
        ["size, float32", *(f"{size / 1e6:.1f} MB" for size in sizes)],
        [f"agreement at {run.image_size} px", *(f"{value:.3f}" for value in agreement)],
    ]
    return html.table(("", "teacher", "cut", "small"), rows)


def next_commands(out: Path) -> list[tuple[str, str]]:
    """What a person would want next: in words, and as a command that can be pasted."""
    try:
        shown = out.relative_to(Path.cwd())
    except ValueError:
        shown = out
    x, y = CLICKS[_FIRST][0]
    model, photograph = _quoted(shown / MODEL), _quoted(shown / _PHOTOGRAPH)
    return [
        (
            "Click on a photograph with the small model:",
            f"samlet segment {photograph} --point {x},{y} --model {model} --out {_quoted(shown / 'masks')}",
        ),
        (
            "Slim on photographs of your own, for an hour; the longer and the more of them, the better:",
            f"samlet slim --teacher {TEACHER} --images YOUR_PHOTOGRAPHS --minutes 60 --image-size {IMAGE_SIZE} "
            "--out my_small_sam",
        ),
        (
            "Take it to ONNX Runtime (pip install 'samlet[export]' first); also OpenVINO, ExecuTorch, transformers:",
            f"samlet export {model} --to onnx --out {_quoted(shown / 'onnx')}",
        ),
    ]


def _quoted(path: Path) -> str:
    text = str(path)
    return f'"{text}"' if " " in text else text


def to_json(made: Demo) -> Mapping[str, Any]:
    """Under the names of the command line's contract."""
    return {"segment_seconds": made.segment_seconds, "slim": made.slimmed.content, "page": str(made.page)}
