"""The tables of SlimSAM and TinySAM, by the papers' settings, for a machine with a GPU and the papers' data.

python benchmarks/papers.py TABLE --data PATH [--images DIR] [--device cuda] [--rows N] [--only NAME] …

Every row is a few `samlet` commands, the last one `samlet evaluate` by the paper's protocol. Finished rows are kept in
benchmarks/results/papers_TABLE.json, and a run that was stopped continues, so rows can be made on different days.
--slim, --distill, --quantize and --evaluate add options to those commands, for trials at a smaller size.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import torch

from common import RESULTS, ROOT, write
from samlet.cli import main as samlet_main
from samlet.data.images import find_images

PUBLISHED = (
    "sam_vit_h",
    "sam_vit_l",
    "sam_vit_b",
    "mobile_sam",
    "efficient_sam_ti",
    "efficient_sam_s",
    "edge_sam",
    "slimsam_50_uniform",
    "slimsam_77_uniform",
)
SLIM = (
    *("--heads", "channels", "--recovery-images", "0", "--loss", "mse", "--schedule", "plateau"),
    *("--scoring-images", "1000", "--no-augment", "--alpha-epochs", "10"),
)
"""What the paper does and samlet does not by default."""
DISTILL = ("--epochs", "8", "--prompts", "64", "--clicks", "replace", "--layer-decay", "1", "--precision", "bf16")
EMBEDDING_ALONE = ("--token-weight", "0", "--output-weight", "0", "--mask-weight", "0", "--iou-weight", "0")


class Row(NamedTuple):
    """One row of a table.

    Attributes:
        name: as the paper's table has it.
        command: slim, distill or quantize, or nothing where a published model is measured.
        options: of that command.
        model: of the zoo, where there is no command.
        photographs: trained on so many; all if not given.
        evaluation: options of `samlet evaluate`.
    """

    name: str
    command: str = ""
    options: tuple[str, ...] = ()
    model: str = ""
    photographs: int | None = None
    evaluation: tuple[str, ...] = ()


def _slim(name: str, ratio: float, epochs: int, *options: str, photographs: int | None = None) -> Row:
    settings = ("--ratio", f"{ratio:g}", "--epochs", str(epochs), *options)
    return Row(f"{name}, {ratio:g}", "slim", settings, photographs=photographs)


def _criteria() -> list[Row]:
    names = {
        "random": "random",
        "magnitude": "magnitude",
        "hessian": "hessian",
        "taylor": "taylor",
        "disturbed-taylor": "SlimSAM",
    }
    return [
        _slim(title, ratio, epochs, "--importance", name)
        for ratio, epochs in ((0.5, 40), (0.77, 80))
        for name, title in names.items()
    ]


def _ablations() -> list[Row]:
    rows = []
    for ratio, epochs in ((0.77, 40), (0.5, 20)):
        for procedure in ("one-step", "alternate"):
            for name in ("taylor", "disturbed-taylor"):
                options = ("--procedure", procedure, "--importance", name)
                rows.append(_slim(f"{procedure}, {name}", ratio, epochs, *options))
        rows += [
            _slim(f"step {step}, alpha {alpha}", ratio, epochs, f"--{kind}-alpha", alpha, *stage)
            for step, kind, alphas, stage in (
                (1, "bottleneck", ("off", "constant", "dynamic"), ("--stage", "first")),
                (2, "embedding", ("off", "constant", "dynamic"), ()),
            )
            for alpha in alphas
        ]
        rows += [
            _slim(f"ranking {selection}", ratio, epochs, "--selection", selection)
            for selection in ("uniform", "mean", "max", "sum", "gaussian", "standardization")
        ]
    return rows


def _data() -> list[Row]:
    """At equal iterations: fewer photographs, more epochs."""
    return [
        _slim(f"{number} photographs", ratio, epochs * 10_000 // number, photographs=number)
        for ratio, epochs in ((0.5, 40), (0.77, 80))
        for number in (10_000, 5_000, 2_000)
    ]


def _modules() -> list[Row]:
    plain = ("--rounds", "0", "--no-hard-masks")
    return [
        Row(
            "baseline",
            "distill",
            (*plain, *(x for t in ("token", "output", "mask", "iou") for x in (f"--{t}-weight", "0"))),
        ),
        Row("+ distillation", "distill", plain),
        Row("+ hard prompts", "distill", ("--no-hard-masks",)),
        Row("+ hard masks", "distill"),
    ]


def _bits() -> list[Row]:
    models = ("mobile_sam", "tinysam")
    floats = [Row(f"{model}, float", model=model) for model in models]
    return floats + [
        Row(f"{model}, W{bits}A{bits}", "quantize", (model, "--weights", str(bits), "--activations", str(bits)))
        for model in models
        for bits in (8, 6)
    ]


def _everything() -> list[Row]:
    models = ("mobile_sam", "sam_vit_h", "tinysam")
    return [
        Row(f"{model}, {strategy}", model=model, evaluation=("--strategy", strategy))
        for model in models
        for strategy in ("grid", "hierarchical")
    ]


POINT, AP = ("--protocol", "sa1b-point"), ("--protocol", "box-detector")
EVERYTHING = ("--protocol", "everything", "--limit", "100")
TABLES: dict[str, tuple[list[Row], tuple[str, ...]]] = {
    "slimsam_models": ([Row(name, model=name) for name in PUBLISHED], POINT),
    "slimsam_criteria": (_criteria(), POINT),
    "slimsam_ablations": (_ablations(), POINT),
    "slimsam_data": (_data(), POINT),
    "tinysam_ap": ([Row(name, model=name) for name in (*PUBLISHED, "tinysam", "q_tinysam")], AP),
    "tinysam_modules": (_modules(), AP),
    "tinysam_bits": (_bits(), AP),
    "tinysam_everything": (_everything(), EVERYTHING),
}


def samlet(*arguments: str | Path) -> dict[str, Any]:
    """What a command prints as JSON.

    Raises:
        SystemExit: it failed; its message stands on stderr.
    """
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = samlet_main([*map(str, arguments), "--json"])
    if code:
        raise SystemExit(f"samlet {shlex.join(map(str, arguments))} ended with {code}")
    return json.loads(printed.getvalue())


def photographs(options: argparse.Namespace, number: int | None) -> Path:
    """The folder to train on; with a number, one with links to the first so many."""
    if number is None:
        return options.images
    folder = options.work / f"first_{number}"
    folder.mkdir(parents=True, exist_ok=True)
    for path in find_images(options.images)[:number]:
        with contextlib.suppress(FileExistsError):
            (folder / path.name).symlink_to(path.resolve())
    return folder


def machine_options(options: argparse.Namespace) -> tuple[str, ...]:
    """Of every command."""
    threads = ("--threads", str(options.threads)) if options.threads else ()
    return ("--device", options.device, *threads)


def make(row: Row, table: str, options: argparse.Namespace) -> str | Path:
    """The model of a row, made by its command; a run that was stopped continues."""
    if not row.command:
        return row.model
    out = options.work / f"{table}_{row.name}".replace(" ", "_").replace(",", "").replace("+", "and")
    device = machine_options(options)
    if row.command == "slim":
        labels = ("--labels", options.labels or options.data) if "taylor" in row.options else ()
        base: tuple[Any, ...] = (
            "slim",
            "--teacher",
            options.teacher or "sam_vit_b",
            "--images",
            photographs(options, row.photographs),
        )
        samlet(*base, *SLIM, *row.options, *labels, "--out", out, *device, *shlex.split(options.slim))
    elif row.command == "distill":
        truth = options.labels or options.data
        base = ("distill", "--teacher", options.teacher or "sam_vit_h", "--student", options.student)
        samlet(*base, "--data", truth, *DISTILL, *row.options, "--out", out, *device, *shlex.split(options.distill))
    else:
        model, *bits = row.options
        base = ("quantize", model, "--images", options.images)
        samlet(*base, *bits, "--out", out, *device, *shlex.split(options.quantize))
    return out


def measure(row: Row, table: str, protocol: tuple[str, ...], options: argparse.Namespace) -> dict[str, Any]:
    """What `samlet evaluate` says of the row's model, less what is per image."""
    model = make(row, table, options)
    arguments = ["evaluate", model, "--data", options.data, *protocol, *row.evaluation, *machine_options(options)]
    if options.data_images:
        arguments += ["--images", options.data_images]
    if options.detections:
        arguments += ["--detections", options.detections]
    found = samlet(*arguments, *shlex.split(options.evaluate))
    return {key: value for key, value in found.items() if not isinstance(value, list)}


def main() -> None:
    """Measure the rows that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--data", type=Path, required=True, help="what accuracy is measured on")
    parser.add_argument("--data-images", type=Path, help="the photographs of --data, if not beside it")
    parser.add_argument("--detections", type=Path, help="a detector's results, for the tables of AP")
    parser.add_argument("--images", type=Path, help="photographs to slim on or to calibrate on")
    parser.add_argument("--labels", type=Path, help="masks to distil from and for the criterion taylor; or --data")
    parser.add_argument("--teacher", help="sam_vit_b for SlimSAM's tables and sam_vit_h for TinySAM's, if not given")
    parser.add_argument("--student", default="tiny_vit", help="of TinySAM's tables")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", metavar="NAME", help="only the row of that name")
    parser.add_argument("--rows", type=int, help="only the first so many rows")
    for command in ("slim", "distill", "quantize", "evaluate"):
        parser.add_argument(f"--{command}", default="", metavar="OPTIONS", help=f"more options of samlet {command}")
    parser.add_argument("--threads", type=int, help="CPU threads; all cores if not given")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "papers", help="where models are kept")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows, protocol = TABLES[options.table]
    if options.threads:
        torch.set_num_threads(options.threads)
    name = f"papers_{options.table}"
    path = options.out / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text())["rows"] if path.is_file() else {}
    for row in rows[: options.rows]:
        if row.name in found or (options.only and row.name != options.only):
            continue
        if row.command in ("slim", "quantize") and options.images is None:
            parser.error(f"the row {row.name!r} needs photographs; give --images DIR")
        print(options.table, row.name, flush=True)
        found[row.name] = measure(row, options.table, protocol, options)
        more = {c: getattr(options, c) for c in ("slim", "distill", "quantize", "evaluate") if getattr(options, c)}
        told = f"the paper's settings, samlet evaluate {shlex.join(protocol)}"
        changed = f"; changed: {json.dumps(more)}" if more else ""
        write(
            name, f"{told} on {options.data.name}, device {options.device}{changed}", {"rows": found}, options.out, True
        )


if __name__ == "__main__":
    main()
