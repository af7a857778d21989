"""Folders of earlier runs that are damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hostile.rows import Make, Row, nested
from tests.hostile.table_settings import DISTILL, EVALUATE, FOLDER, LABEL, QUANTIZE, SLIM

RUNS = {
    "folder": (f"{FOLDER} --workers 1", "run.json"),
    "label": (f"{LABEL} --workers 1", "run.json"),
    "evaluate": (EVALUATE, "run.json"),
    "slim": (f"{SLIM} --steps 2 --image-size 64", "run/run.json"),
    "distill": (f"{DISTILL} --steps 1 --image-size 64", "run/run.json"),
    "quantize": (f"{QUANTIZE} --image-size 64 --calibration-images 1", "run/run.json"),
}
SPOILED: list[tuple[str, str]] = [
    ("empty", ""),
    ("cut short", '{"recipe": {"ste'),
    ("a list", "[1, 2]"),
    ("a number", "7"),
    ("null", "null"),
    ("too deep", '{"recipe": ' + nested(100_000) + "}"),
    ("with other fields", '{"colour": "red"}'),
    ("with a recipe that is a list", '{"recipe": [1], "finished": false}'),
    ("with a recipe that is null", '{"recipe": null, "finished": 0}'),
]


def run(name: str, content: str, more: Callable[[Path], object] = lambda _: None) -> Make:
    def make(here: Path, _base: Path) -> None:
        path = here / "o" / name
        path.parent.mkdir(parents=True)
        path.write_text(content)
        more(here / "o")

    return make


def lines(command: str, name: str, content: str | bytes) -> Make:
    """A finished run of a command whose lines are spoiled; the test makes the run first."""

    def make(here: Path, _base: Path) -> None:
        path = here / "o" / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    make.first = command  # type: ignore[attr-defined]
    return make


LINE: dict[str, Any] = {"image": "a0.png", "height": 48, "width": 64, "masks": [], "decoder_prompts": 4, "seconds": 1}
LINES: list[tuple[str, str, str, str]] = [
    ("folder", "masks.jsonl", "a line of text", "hello\n"),
    ("folder", "masks.jsonl", "a line too deep", nested(100_000) + "\n"),
    ("folder", "masks.jsonl", "a line that is a list", "[1]\n"),
    ("folder", "masks.jsonl", "a line of another kind", '{"image": 7}\n'),
    ("folder", "masks.jsonl", "a line without masks", json.dumps({"image": "a0.png"}) + "\n"),
    ("folder", "masks.jsonl", "masks that are a number", json.dumps({**LINE, "masks": 7}) + "\n"),
    ("label", "a0.json", "an empty file", ""),
    ("label", "a0.json", "a file too deep", '{"annotations": ' + nested(100_000) + "}"),
    ("label", "a0.json", "annotations a number", '{"image": {"file_name": "a0.png"}, "annotations": 7}'),
    ("label", "a0.json", "an image that is a list", '{"image": [1], "annotations": []}'),
    ("evaluate", "images-0.jsonl", "a line of text", "hello\n"),
    ("evaluate", "images-0.jsonl", "a line too deep", nested(100_000) + "\n"),
    ("evaluate", "images-0.jsonl", "a line of other fields", '{"name": "a0.png", "colour": 3}\n'),
    ("evaluate", "images-0.jsonl", "a line whose name is a list", '{"name": [1]}\n'),
    (
        "evaluate",
        "images-0.jsonl",
        "values that are texts",
        '{"name": "a", "areas": "x", "values": 7, "seconds": null}\n',
    ),
]
COCO = ("label", "run.instances.jsonl", "coco")

ROWS: list[Row] = [
    *(
        Row(f"{command}: run.json {what}", words, 2, "overwrite", run(name, content), left=("o",))
        for command, (words, name) in RUNS.items()
        for what, content in SPOILED
    ),
    *(
        Row(
            f"{command}: {name}, {what}",
            RUNS[command][0],
            2,
            f"{name.split('/')[-1]}",
            lines(RUNS[command][0], name, content),
            left=("o",),
        )
        for command, name, what, content in LINES
    ),
    *(
        Row(
            f"{command}: run.json {what}, with --overwrite",
            f"{words} --overwrite",
            0,
            "",
            run(name, content),
            left=("o",),
        )
        for command, (words, name) in RUNS.items()
        if command in ("folder", "label", "evaluate")
        for what, content in (("empty", ""), ("too deep", SPOILED[5][1]), ("a list", "[1]"))
    ),
]
