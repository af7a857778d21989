"""Exporting a model: write, run in its own runtime, compare, and only then let it out."""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from samlet.errors import InputError, SamletError
from samlet.export import bundles, checkpoint_files, published
from samlet.export.config import ExportConfig
from samlet.export.fixed_size import fixed_size
from samlet.export.graph_files import write_and_run
from samlet.export.int8_search import in_integers
from samlet.export.keywords import ExportKeywords
from samlet.export.machine import check_machine, remarks, warnings
from samlet.export.overflow import check_float16
from samlet.export.probes import answers, photographs, probes
from samlet.export.report import write_markdown, write_picture
from samlet.export.result import Exported
from samlet.export.verification import Figures, drawn, refusals
from samlet.io.paths import expanded
from samlet.io.progress import working
from samlet.io.writing import check_output, new_folder
from samlet.models import Sam
from samlet.models.quantized import is_quantized
from samlet.quantization.config import QuantConfig
from samlet.runs.folder import RunFolder
from samlet.runs.log import say
from samlet.runtimes.exported import ExportedSam
from samlet.runtimes.manifest import SHARED_WEIGHTS, note_verification
from samlet.runtimes.registry import RUNTIMES

EXPORT_FILES = frozenset(
    {
        "export.json",
        "report.md",
        "comparison.png",
        SHARED_WEIGHTS,
        *(
            f"{part}{suffix}"
            for part in ("encoder", "decoder")
            for runtime in RUNTIMES.values()
            for suffix in (runtime.suffix, runtime.weights_suffix)
            if suffix
        ),
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "processor_config.json",
        "model.pth",
        published.FILE,
        "onnx/",
        "model.zip",
    }
)
"""What an export's folder may hold."""


def export_model(
    sam: Sam,
    folder: str | Path,
    to: str,
    *,
    images: str | Path | None = None,
    overwrite: bool = False,
    quantization: QuantConfig | None = None,
    provenance: Mapping[str, Any] | None = None,
    progress: bool = False,
    **settings: Unpack[ExportKeywords],
) -> Exported:
    """Write a model for another runtime, after it has been run there and agrees with its source.

    Args:
        sam: the model. A quantized one is exported in integers where its scheme allows it.
        folder: a new folder.
        to: a name in `samlet.export.targets.TARGETS`.
        images: photographs to compare on, and for int8 to calibrate on; the four that samlet brings along if None.
        overwrite: replace an earlier export.
        quantization: for int8 of a float model; the scheme must be `integer`.
        provenance: what the model comes from.
        progress: show progress on stderr.
        **settings: fields of `ExportConfig`.

    Raises:
        InputError: what cannot be exported, or a folder that holds something else.
        SamletError: the gate refuses; the message has the figures.
    """
    start = time.perf_counter()
    if isinstance(sam, ExportedSam):
        raise InputError("the model is an exported one; give the model that it was made from")
    if is_quantized(sam) and "precision" not in settings:
        settings["precision"] = "int8"
    config = ExportConfig(to=to, **settings)
    source = None if images is None else expanded(images)
    path = check_output(Path(folder), EXPORT_FILES, overwrite)
    _check(sam, config)
    search = RunFolder(path.with_name(f"{path.name}-search"))
    for said in warnings(config):
        say(said)
    sam.eval()
    integer, layers = in_integers(sam, source, config, quantization, progress, search)
    if config.target.kind == "bundle":
        size: int | None = sam.config.check_image_size(config.image_size)
    else:
        size = fixed_size(sam, config) if config.target.kind == "graphs" else None
    asked = probes(sam, photographs(source, config.photographs, config.seed), size)
    notes = remarks(config)
    out_of_range = ""
    if config.precision == "float16" or "float16" in config.target.variants:
        try:
            check_float16(sam, asked, size)
        except SamletError as error:
            if config.target.kind != "bundle":
                raise
            out_of_range = str(error)
            notes.append(f"no float16 files were written: {error}")
    with working("running the model", progress):
        expected = answers(sam, asked, size)
    with (
        new_folder(path, EXPORT_FILES, overwrite) as temporary,
        working("writing the files, running them and comparing masks", progress),
    ):
        variants: list[bundles.Variant] = []
        if config.target.kind == "graphs":
            figures, found = write_and_run(sam, integer, temporary, config, asked, expected, size, provenance)
            if config.layout != "samlet":
                figures = published.write_and_run(sam, temporary, config, asked, expected, figures)
        elif config.target.kind == "bundle":
            variants = bundles.write_and_run(sam, temporary, config, asked, provenance, in_range=not out_of_range)
            first = variants[0]
            figures = Figures(
                agreement=first.agreement, worst=first.worst, prompts=first.prompts, worst_prompt=first.worst_prompt
            )
        else:
            figures = checkpoint_files.write_and_read(sam, temporary, config, asked, expected)
        figures = replace(figures, drawn=drawn(expected))
        refused = bundles.refusals(variants) if variants else refusals(figures, config)
        if refused and not config.force:
            raise SamletError(
                f"the export was refused and nothing was written: {'; '.join(refused)}. --force writes it all the same"
                + (f"; {search.out} keeps the search, so that the next try goes on from there" if layers else "")
            )
        if config.target.kind == "graphs":
            note_verification(temporary, figures.as_dict(), bool(refused))
            write_picture(asked, expected, found, f"{to}, {config.precision}", temporary / "comparison.png")
        entries = [entry for entry in sorted(temporary.rglob("*")) if entry.is_file()]
        made = Exported(
            folder=path,
            config=config,
            files={entry.relative_to(temporary).as_posix(): entry.stat().st_size for entry in entries},
            figures=figures,
            refused=refused,
            seconds=time.perf_counter() - start,
            layers=layers,
            notes=notes,
            variants=variants,
        )
        if config.target.kind == "graphs":
            write_markdown(made, temporary)
    if layers:
        shutil.rmtree(search.out, ignore_errors=True)
    return made


def _check(sam: Sam, config: ExportConfig) -> None:
    """Raise InputError for what can be known before anything is computed."""
    side = sam.config.check_image_size(config.image_size)
    if config.target.kind == "checkpoint":
        checkpoint_files.check(sam, config)
    if config.target.kind == "bundle":
        bundles.bundle(config).check(sam, side)
    if config.layout != "samlet":
        published.check(sam)
    for name in config.target.needs:
        if importlib.util.find_spec(name) is None:
            raise InputError(
                f"target {config.to} needs {name}, which is not installed: pip install 'samlet[{config.target.extra}]'"
            )
    check_machine(config)
