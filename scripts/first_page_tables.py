"""The tables of README.md and of the model cards, from the JSON of benchmarks/first_page.py and benchmarks/sam2.py."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compact_table import compact_table

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
_TITLES = {
    "mobile_sam": "MobileSAM",
    "sam2_hiera_tiny": "SAM 2 Hiera-T",
    "samlet_s": "**samlet_s**",
    "samlet_m": "**samlet_m**",
}
_COLUMNS = {
    "bsds500_val sa1b-point": "BSDS500, one click",
    "bsds500_val box": "BSDS500, box",
    "coco100_train sa1b-point": "COCO, one click",
    "coco100_train box": "COCO, box",
}
_SIZES = ("1024", "512")
RULES = {"best": "best predicted mask", "single": "single mask"}


def _read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def first_page() -> str:
    """Size, time and accuracy of the models, the best predicted mask."""
    result, reference = _read("first_page"), _read("sam2_accuracy")["rows"]
    head = ["model", "input", "file, int8", "encoder MACs", "encoder, CPU time", *_COLUMNS.values()]
    rows = []
    for size in _SIZES:
        for name, row in result["rows"].items():
            at = row["at"][size]
            miou = at.get("miou") or reference[f"{name} at {size}"]["miou"]
            rows.append(
                [
                    _TITLES[name],
                    f"{size} px",
                    f"{row['int8_bytes'] / 1e6:.1f} MB",
                    f"{at['encoder_macs'] / 1e9:.1f} G",
                    f"{at['encoder_cpu_s']:.2f} s",
                    *(f"{100 * miou[f'{column} best']['miou']:.1f}" for column in _COLUMNS),
                ]
            )
    machine = result["machine"]
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    note = (
        "Accuracy: mean IoU in percent with masks drawn by people, of the mask that the model itself predicts to be "
        f"the best of its three. CPU time: one pass of the encoder, float32, {threads} of an "
        f"{machine['processor']} CPU, the models in turns. Measured by `benchmarks/first_page.py` and "
        "`benchmarks/sam2.py`."
    )
    return f"{compact_table(head, rows)}\n\n{note}"


def card(name: str) -> str:
    """Accuracy of a model of our own with intervals, and how much it differs from MobileSAM."""
    result, reference = _read("first_page")["rows"], _read("sam2_accuracy")["rows"]
    head = ["input", "answer", "prompt", _TITLES[name].strip("*"), "less MobileSAM", "MobileSAM", "SAM 2 Hiera-T"]
    rows = []
    for size in _SIZES:
        at = result[name]["at"][size]
        for rule, words in RULES.items():
            for column, title in _COLUMNS.items():
                key = f"{column} {rule}"
                own, less = at["miou"][key], at["less_mobile_sam"][key]
                rows.append(
                    [
                        f"{size} px",
                        words,
                        title,
                        f"{100 * own['miou']:.1f} [{100 * own['ci'][0]:.1f}, {100 * own['ci'][1]:.1f}]",
                        f"{100 * less['mean']:+.1f} [{100 * less['ci'][0]:+.1f}, {100 * less['ci'][1]:+.1f}]",
                        f"{100 * result['mobile_sam']['at'][size]['miou'][key]['miou']:.1f}",
                        f"{100 * reference[f'sam2_hiera_tiny at {size}']['miou'][key]['miou']:.1f}",
                    ]
                )
    return (
        f"{compact_table(head, rows, 3)}\n\nMean IoU in percent, all photographs of both sets, 95 % intervals by "
        "bootstrap over photographs; the difference is taken on the same masks. Measured by `benchmarks/first_page.py`."
    )


def variants(name: str) -> str:
    """What stood between the stages of a recipe, and what was tried beside it."""
    result = _read(name)
    head = ["trained", "photographs seen", *(f"{title}, {size} px" for size in _SIZES for title in _COLUMNS.values())]
    rows = [
        [
            label,
            f"{row['views']:,}",
            *(
                " / ".join(f"{100 * row['at'][size][f'{column} {rule}']['miou']:.1f}" for rule in RULES)
                for size in _SIZES
                for column in _COLUMNS
            ),
        ]
        for label, row in result["rows"].items()
    ]
    return (
        f"{compact_table(head, rows)}\n\nMean IoU in percent, {' / '.join(RULES.values())}. "
        f"Measured by `benchmarks/own_variants.py`: {result['protocol']}."
    )


def everything() -> str:
    """Everything mode of models of our own beside MobileSAM's."""
    result = _read("own_everything")
    sets = {"bsds500_val": "BSDS500", "coco100_train": "COCO"}
    rows = [
        [_TITLES[name], *(cell for data in sets for cell in _with_difference(row[data]))]
        for name, row in result["rows"].items()
    ]
    head = ["model", *(title for name in sets.values() for title in (name, "less MobileSAM"))]
    return (
        f"{compact_table(head, rows)}\n\nIn percent. Measured by `benchmarks/own_everything.py`: {result['protocol']}."
    )


def _with_difference(cell: dict[str, Any]) -> tuple[str, str]:
    own = f"{100 * cell['miou']:.1f} [{100 * cell['ci'][0]:.1f}, {100 * cell['ci'][1]:.1f}]"
    less = cell.get("less_mobile_sam")
    if less is None:
        return own, ""
    return own, f"{100 * less['mean']:+.1f} [{100 * less['ci'][0]:+.1f}, {100 * less['ci'][1]:+.1f}]"


TABLES: dict[str, Callable[[], str]] = {
    "first_page": first_page,
    "own_variants": functools.partial(variants, "own_variants"),
    "own_variants_m": functools.partial(variants, "own_variants_m"),
    "own_everything": everything,
    "card_samlet_s": functools.partial(card, "samlet_s"),
    "card_samlet_m": functools.partial(card, "samlet_m"),
}
