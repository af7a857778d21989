"""Exporting a model: write, run in its own runtime, compare, and only then let it out.

One module, though long: it is the order of an export, each step of which is a module of its own.
"""

from __future__ import annotations

import copy
import importlib.util
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import torch

from samlet._version import __version__
from samlet.checkpoints import Format, check_format, save
from samlet.data.images import find_images
from samlet.data.transforms import preprocess
from samlet.errors import InputError, SamletError
from samlet.evaluation.costs import cost
from samlet.export import bundles, published
from samlet.export.config import BUNDLES, GRAPHS, LEAST_AGREEMENT, ExportConfig
from samlet.export.int8_layers import is_deployable
from samlet.export.overflow import check_range
from samlet.export.probes import Answer, Probe, answers, photographs, probes
from samlet.export.report import write_markdown, write_picture
from samlet.export.result import Exported
from samlet.export.verification import (
    Figures,
    compare_answers,
    drawn,
    embedding,
    part_bytes,
    refusals,
    sqnr,
    time_parts,
)
from samlet.export.writers import fixed_size, write_graphs
from samlet.io.paths import expanded
from samlet.io.writing import check_output, new_folder
from samlet.models import Sam
from samlet.models.quantized import is_quantized
from samlet.quantization.config import QuantConfig
from samlet.quantization.pipeline import run_quantization
from samlet.runs.folder import RunFolder
from samlet.runs.log import say
from samlet.runtimes.exported import ExportedSam
from samlet.runtimes.manifest import MACS, SHARED_WEIGHTS, Manifest, note_verification, write_manifest
from samlet.runtimes.openvino_runtime import has_bf16

_NEEDED = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "transformers.js": ("onnx", "onnxscript", "onnxruntime"),
    "anylabeling": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino",),
    "executorch": ("executorch", "torchao"),
}
"""Packages without which a target cannot be written or run."""

_WEIGHTS_ALONE = 0.97  # mask IoU where weights alone are int8

EXPORT_FILES = frozenset(
    {
        "export.json",
        "report.md",
        "comparison.png",
        SHARED_WEIGHTS,
        *(f"{part}.{suffix}" for part in ("encoder", "decoder") for suffix in ("onnx", "xml", "bin", "pte")),
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
    **settings: Any,
) -> Exported:
    """Write a model for another runtime, after it has been run there and agrees with its source.

    Args:
        sam: the model. A quantized one is exported in integers where its scheme allows it.
        folder: a new folder.
        to: see `samlet.export.config.TARGETS`.
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
    config = ExportConfig(to=to, **settings)  # type: ignore[arg-type]
    source = None if images is None else expanded(images)
    path = check_output(Path(folder), EXPORT_FILES, overwrite)
    _check_target(sam, config)
    search = RunFolder(path.with_name(f"{path.name}-search"))
    for said in _warnings(config):
        say(said)
    sam.eval()
    shown = photographs(source, config.photographs, config.seed)
    integer, layers = _integers(sam, source, config, quantization, progress, search)
    size = fixed_size(sam, config) if to in GRAPHS else None
    if to in BUNDLES:
        size = sam.config.check_image_size(config.image_size)
    asked = probes(sam, shown, size)
    if config.precision == "float16":
        _check_float16(sam, asked, size)
    in_range = True
    notes = _notes(config)
    if to == "transformers.js":
        try:
            _check_float16(sam, asked, size)
        except SamletError as error:
            in_range = False
            notes.append(f"no float16 files were written: {error}")
    expected = answers(sam, asked, size)
    variants: list[bundles.Variant] = []
    with new_folder(path, EXPORT_FILES, overwrite) as temporary:
        if config.to in GRAPHS:
            figures, found = _graphs(sam, integer, temporary, config, asked, expected, size, provenance)
            if config.layout != "samlet":
                side = sam.config.check_image_size(config.image_size)
                file = published.write(sam, temporary, side)
                mean, worst, _ = compare_answers(expected, published.answers(sam, file, asked, side))
                figures = replace(figures, agreement=min(figures.agreement, mean), worst=min(figures.worst, worst))
        elif config.to in BUNDLES:
            assert size is not None
            made_for = bundles.bundle(config.to)
            name = str((provenance or {}).get("name", "samlet"))
            made_for.write(sam, temporary, size, name, in_range)
            limits: dict[str, float] = {str(name): value for name, value in LEAST_AGREEMENT.items()}
            limits["int8"] = _WEIGHTS_ALONE
            if config.least_agreement is not None:
                limits = dict.fromkeys(limits, config.least_agreement)
            variants = bundles.compare(made_for, sam, temporary, size, asked, limits)
            first = variants[0]
            figures = Figures(agreement=first.agreement, worst=first.worst, prompts=first.prompts)
        else:
            figures, found = _checkpoint(sam, temporary, config, asked, expected)
        figures = replace(figures, drawn=drawn(expected))
        refused = refusals(figures, config) if not variants else bundles.refusals(variants)
        if refused and not config.force:
            raise SamletError(
                f"the export was refused and nothing was written: {'; '.join(refused)}. --force writes it all the same"
                + (f"; {search.out} keeps the search, so that the next try goes on from there" if layers else "")
            )
        if config.to in GRAPHS:
            note_verification(temporary, figures.as_dict(), bool(refused))
            write_picture(asked, expected, found, f"{to}, {config.precision}", temporary / "comparison.png")
        files = {
            entry.relative_to(temporary).as_posix(): entry.stat().st_size
            for entry in sorted(temporary.rglob("*"))
            if entry.is_file()
        }
        made = Exported(
            folder=path,
            config=config,
            files=files,
            figures=figures,
            refused=refused,
            seconds=time.perf_counter() - start,
            layers=layers,
            notes=notes,
            variants=variants,
        )
        if config.to in GRAPHS:
            write_markdown(made, temporary)
    if layers:
        shutil.rmtree(search.out, ignore_errors=True)
    return made


def _check_target(sam: Sam, config: ExportConfig) -> None:
    """Raise InputError for what can be known before anything is computed."""
    sam.config.check_image_size(config.image_size)
    if config.to == "hf":
        check_format(sam, "hugging-face")
    elif config.to == "segment-anything":
        format = sam.config.encoder.published_format
        if format is None:
            raise InputError(
                f"the model has a {sam.config.encoder.kind} encoder, whose published format samlet does not write; "
                "expected a ViT, TinyViT or SAM 2. Export it to onnx or openvino, or save it natively"
            )
        check_format(sam, cast(Format, format))
    if config.layout != "samlet":
        published.check(sam)
    if config.to in BUNDLES:
        bundles.bundle(config.to).check(sam, sam.config.check_image_size(config.image_size))
    for name in _NEEDED.get(config.to, ()):
        if importlib.util.find_spec(name) is None:
            extra = "executorch" if config.to == "executorch" else "export"
            raise InputError(f"target {config.to} needs {name}, which is not installed: pip install 'samlet[{extra}]'")
    if config.precision == "bfloat16" and config.for_device == "this" and not has_bf16():
        raise InputError(
            "precision is bfloat16, and OpenVINO has none on this CPU: it would compute in float32 and show nothing of "
            "bfloat16; export in float32, or for another machine (--for-device other)"
        )


def _integers(
    sam: Sam,
    images: Path | None,
    config: ExportConfig,
    quantization: QuantConfig | None,
    progress: bool,
    search: RunFolder,
) -> tuple[Sam | None, list[Mapping[str, Any]]]:
    """The model with quantized layers for int8, and what became of each layer; `search` keeps what was found."""
    if is_quantized(sam):
        if config.precision != "int8" or config.to not in GRAPHS:
            raise InputError(
                f"the model is quantized, and {config.to} in {config.precision} would be no smaller; export with "
                f"--int8 to one of {', '.join(GRAPHS)}, or export the float model"
            )
        if not is_deployable(sam):
            raise InputError(
                "the model's weights have no known scales; quantize with `samlet quantize --scheme integer`"
            )
        return sam, []
    if config.precision != "int8" or config.to == "executorch":  # which quantizes by its own rules
        return None, []
    if images is None:
        raise InputError("int8 is calibrated on photographs, and none are given; name a folder of some with --images")
    settings = quantization or QuantConfig(scheme="integer", image_size=config.image_size, seed=config.seed)
    if settings.scheme != "integer":
        raise InputError(f"scheme {settings.scheme} does not run in integers; expected integer")
    with search.locked():
        made = run_quantization(sam, find_images(images), settings, search, progress=progress, overwrite=True)
    layers: list[Mapping[str, Any]] = []
    for layer in made.layers:
        found = asdict(layer)
        if layer.out_of_line and layer.float_reason is None:
            parent, _, last = layer.name.rpartition(".")
            setattr(made.sam.get_submodule(parent), last, copy.deepcopy(sam.get_submodule(layer.name)))
            found |= {"weights": None, "inputs": None, "float_reason": f"{layer.sqnr:.1f} dB is out of line"}
        layers.append(found)
    return made.sam, layers


def _graphs(
    sam: Sam,
    integer: Sam | None,
    folder: Path,
    config: ExportConfig,
    asked: Sequence[Probe],
    expected: Sequence[Answer],
    size: int | None,
    provenance: Mapping[str, Any] | None,
) -> tuple[Figures, Sequence[Answer]]:
    """Write graphs, run them, and measure; for int8 beside a float32 export that is not kept."""
    images = [question.image for question in asked]
    names = write_graphs(sam, folder, config, integer, images)
    _write_manifest(sam, folder, config, names, size, provenance)
    made = ExportedSam(folder)
    given = answers(made, asked, size)
    mean, worst, prompts = compare_answers(expected, given)
    image = asked[0].image
    found = embedding(made, image, size)
    figures: dict[str, Any] = {
        "agreement": mean,
        "worst": worst,
        "prompts": prompts,
        "embedding_sqnr": sqnr(found, embedding(sam, image, size)),
        "bytes": part_bytes(folder),
    }
    models: dict[str, Any] = {"made": made}
    with tempfile.TemporaryDirectory() as other:
        if config.precision == "int8":
            plain = ExportConfig(**{**asdict(config), "precision": "float32"})
            beside = Path(other)
            _write_manifest(sam, beside, plain, write_graphs(sam, beside, plain, images=images), size, None)
            models["float"] = ExportedSam(beside)
            figures["float_bytes"] = part_bytes(beside)
        if integer is not None:
            figures["simulation_agreement"] = compare_answers(answers(integer, asked, size), given)[0]
            figures["simulation_sqnr"] = sqnr(found, embedding(integer, image, size))
        times = time_parts(models, image, size) if config.for_device == "this" else {}
    return Figures(**figures, latency_s=times.get("made"), float_latency_s=times.get("float")), given


def _write_manifest(
    sam: Sam,
    folder: Path,
    config: ExportConfig,
    names: Mapping[str, str],
    size: int | None,
    provenance: Mapping[str, Any] | None,
) -> None:
    counted = cost(_plain(sam), measure=False)
    fixed = config.to == "executorch"
    parts = {"encoder": counted.encoder, "decoder": counted.decoder}
    manifest = Manifest(
        folder=folder,
        target=cast(Any, config.to),
        precision=config.precision,
        runtime_precision="bf16" if config.to == "openvino" and config.precision == "int8" else None,
        config=sam.config,
        files=names,
        image_sizes=None if size is None else (size,),
        prompt_batch=config.prompts if fixed else None,
        points=config.points if fixed else None,
    )
    write_manifest(
        manifest,
        parameters={part: found.parameters for part, found in parts.items()},
        macs={part: {name: getattr(found, name) for name in MACS} for part, found in parts.items()},
        provenance={"samlet": __version__, "settings": asdict(config), "source": dict(provenance or {})},
    )


def _plain(sam: Sam) -> Sam:
    """A float model of the same architecture, to count."""
    with torch.device("meta"):
        return Sam(sam.config) if is_quantized(sam) else sam


def _checkpoint(
    sam: Sam, folder: Path, config: ExportConfig, asked: Sequence[Probe], expected: Sequence[Answer]
) -> tuple[Figures, Sequence[Answer]]:
    """A checkpoint in another format, read again and compared."""
    from samlet.checkpoints import load_checkpoint
    from samlet.export.transformers_check import check_in_transformers

    if config.to == "hf":
        save(sam, folder, format="hugging-face", overwrite=True)
        check_in_transformers(sam, folder, [question.image for question in asked])
        made = load_checkpoint(folder)
    else:
        save(sam, folder / "model.pth", format=cast(Format, sam.config.encoder.published_format))
        made = load_checkpoint(folder / "model.pth")
    given = answers(made, asked, None)
    mean, worst, prompts = compare_answers(expected, given)
    return Figures(agreement=mean, worst=worst, prompts=prompts), given


def _check_float16(sam: Sam, asked: Sequence[Probe], size: int | None) -> None:
    side = sam.check_image_size(size)

    def run() -> None:
        for question in asked:
            pixels, frame = preprocess(question.image, side, *sam.preprocessing)
            with torch.inference_mode():
                found = sam.encode(pixels[None])
                points = frame.to_input(torch.from_numpy(question.points))[:, None]
                sam.decode(found, points, torch.ones(points.shape[:2], dtype=torch.long))

    check_range(sam, run)


def _warnings(config: ExportConfig) -> list[str]:
    """What is better known before the work than after it."""
    from samlet.export.machine import has_vnni

    found = []
    if config.precision == "int8" and config.for_device == "this" and has_vnni() is False:
        found.append(
            "this CPU has no VNNI instructions, so int8 may be no faster here than float32, and is then refused in the "
            "end; if the export is for another machine, say --for-device other"
        )
    return found


def _notes(config: ExportConfig) -> list[str]:
    from samlet.export.machine import has_vnni

    if config.precision == "int8" and config.for_device == "other":
        return ["nothing was timed: the export is for another machine (--for-device other)"]
    if config.precision == "int8" and has_vnni() is False:
        return [
            "this CPU has no VNNI instructions: int8 was timed without them, and runs faster where they are "
            "(x86 since 2019, ARM with dot products)"
        ]
    return []
