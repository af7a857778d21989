"""What an exported folder says about itself: `export.json`, checked field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from samlet.checkpoints.reading import EXPORT, read_json
from samlet.errors import CheckpointError, InputError
from samlet.io.writing import write_json
from samlet.models import SamConfig
from samlet.precisions import Precision
from samlet.runtimes.registry import RUNTIMES
from samlet.runtimes.sessions import REMEDY

FORMAT = "samlet-export"
VERSION = 1

RuntimePrecision = Literal["f32", "bf16"]

SHARED_WEIGHTS = "everything.safetensors"
"""The decoder's weights beside the graphs; a folder may do without."""

_PARTS = ("encoder", "decoder")
MACS = ("macs_modules", "macs_total", "macs_computed")
"""What is counted of each part."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """An exported model, as its `export.json` describes it.

    Attributes:
        folder: where it stands.
        target: the runtime that it was made for, a name in `samlet.runtimes.registry.RUNTIMES`.
        precision: of weights and products; what goes in and comes out is float32 whatever it is.
        runtime_precision: in what an int8 model's other products are computed where the machine can; float32 if None.
        config: of the model that it was made from.
        files: names of the graphs inside the folder, `encoder` and `decoder` among them.
        image_sizes: sides of the square input that it takes, pixels; None for all multiples of the stride.
        prompt_batch: number of prompts that the decoder answers at once; None for any.
        points: number of clicks and corners a prompt; None for any.
    """

    folder: Path
    target: str
    precision: Precision
    runtime_precision: RuntimePrecision | None
    config: SamConfig
    files: Mapping[str, str]
    image_sizes: tuple[int, ...] | None
    prompt_batch: int | None
    points: int | None

    def path(self, part: str) -> Path:
        """The graph of a part, `encoder` or `decoder`."""
        return self.folder / self.files[part]

    @property
    def shared_weights(self) -> Path | None:
        """The decoder's weights for everything mode, if they are there."""
        path = self.folder / SHARED_WEIGHTS
        return path if path.is_file() else None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files that hold graphs and weights, those that graphs keep beside them included."""
        runtime = RUNTIMES[self.target]
        graphs = [path for name in self.files.values() for path in runtime.files(self.folder / name)]
        return tuple(sorted({*graphs, *([self.shared_weights] if self.shared_weights else [])}))


def is_exported(path: Path) -> bool:
    """Whether a path is the folder of an exported model."""
    return (path / EXPORT).is_file()


def read_manifest(folder: Path) -> Manifest:
    """Read and check `export.json`, and look whether the files that it names are there.

    Raises:
        CheckpointError: a field is missing or cannot be, or a file is missing.
    """
    fields = _Fields(read_json(folder / EXPORT), folder / EXPORT)
    fields.choice("format", (FORMAT,))
    version = fields.get("version")
    if version != VERSION or isinstance(version, bool):
        raise fields.wrong("version", version, f"{VERSION}, which this samlet reads", "update samlet, or export again")
    target = fields.choice("target", tuple(RUNTIMES))
    try:
        config = SamConfig.from_dict(fields.table("model"))
    except InputError as error:
        raise CheckpointError(f"{folder / EXPORT}: model: {error}; {REMEDY}") from error
    manifest = Manifest(
        folder=folder,
        target=target,
        precision=fields.choice("precision", get_args(Precision)),
        runtime_precision=fields.choice("runtime_precision", (None, *get_args(RuntimePrecision))),
        config=config,
        files=_files(fields, RUNTIMES[target].suffix),
        image_sizes=_image_sizes(fields, config.encoder.stride),
        prompt_batch=fields.count("prompt_batch"),
        points=fields.count("points"),
    )
    _check_figures(fields)
    for path in [manifest.folder / name for name in manifest.files.values()]:
        for needed in (path, RUNTIMES[target].beside(path)):
            if needed is not None and not needed.is_file():
                raise CheckpointError(
                    f"{needed} is missing; expected a file, for {EXPORT} beside it names {path.name}; copy the whole "
                    f"folder again, or {REMEDY}"
                )
    return manifest


def write_manifest(
    manifest: Manifest,
    parameters: Mapping[str, int],
    macs: Mapping[str, Mapping[str, int]],
    macs_image_size: int,
    provenance: Mapping[str, Any],
) -> None:
    """Write `export.json` into the manifest's folder.

    Args:
        manifest: what the folder holds.
        parameters: of each part.
        macs: of each part, see `MACS`.
        macs_image_size: side of the encoder's input that they are counted at, pixels.
        provenance: what the model comes from.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "target": manifest.target,
        "precision": manifest.precision,
        "runtime_precision": manifest.runtime_precision,
        "model": manifest.config.to_dict(),
        "files": dict(manifest.files),
        "image_sizes": manifest.image_sizes,
        "prompt_batch": manifest.prompt_batch,
        "points": manifest.points,
        "parameters": parameters,
        "macs": macs,
        "macs_image_size": macs_image_size,
        "gate": {},
        "forced": False,
        "provenance": provenance,
    }
    write_json(manifest.folder / EXPORT, content)


def note_verification(folder: Path, figures: Mapping[str, Any], forced: bool) -> None:
    """Put the gate's figures into `export.json`, and whether the folder was written although they refuse it."""
    write_json(folder / EXPORT, {**read_json(folder / EXPORT), "gate": figures, "forced": forced})


def note_usage(folder: Path, usage: Mapping[str, Any]) -> None:
    """Put into `export.json` how the graphs are fed, for those who read it; samlet itself does not."""
    write_json(folder / EXPORT, {**read_json(folder / EXPORT), "usage": usage})


def _files(fields: _Fields, suffix: str) -> dict[str, str]:
    files = fields.table("files")
    for part in {**dict.fromkeys(_PARTS), **files}:
        name = files.get(part)
        plain = isinstance(name, str) and name == Path(name).name and not {"\\", ":", "\0"} & set(name)
        if not isinstance(name, str) or not plain or not name.endswith(suffix):
            raise fields.wrong(f"files.{part}", name, f"the name of a file in the same folder that ends with {suffix}")
    return files


def _image_sizes(fields: _Fields, stride: int) -> tuple[int, ...] | None:
    sizes = fields.get("image_sizes")
    if sizes is None:
        return None
    if not isinstance(sizes, list) or not sizes or not all(_is_count(size) and size % stride == 0 for size in sizes):
        raise fields.wrong("image_sizes", sizes, f"null, or a list of multiples of {stride}, pixels")
    return tuple(sizes)


def _check_figures(fields: _Fields) -> None:
    """What stands there for people to read must at least be what it says."""
    for part, value in fields.table("parameters").items():
        if not _is_count(value):
            raise fields.wrong(f"parameters.{part}", value, "a whole number above 0")
    macs = fields.table("macs")
    for part in _PARTS:
        found = macs.get(part)
        if not isinstance(found, dict) or not all(_is_count(found.get(name)) for name in MACS):
            raise fields.wrong(f"macs.{part}", found, f"an object of {', '.join(MACS)}, whole numbers above 0")
    fields.count("macs_image_size")  # which earlier samlets did not say, nor the usage
    for name, kind in (("gate", dict), ("usage", dict), ("provenance", dict), ("forced", bool)):
        value = fields.get(name)
        if value is not None and not isinstance(value, kind):
            raise fields.wrong(name, value, "an object" if kind is dict else "true or false")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


class _Fields:
    """The fields of `export.json`; a missing one is None."""

    def __init__(self, content: Mapping[str, Any], path: Path) -> None:
        self._content, self._path = content, path

    def get(self, name: str) -> Any:
        return self._content.get(name)

    def wrong(self, name: str, value: Any, expected: str, remedy: str = REMEDY) -> CheckpointError:
        shown = repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:80]}…"
        return CheckpointError(f"{self._path} has {name} {shown}; expected {expected}; {remedy}")

    def choice(self, name: str, allowed: tuple[Any, ...]) -> Any:
        value = self.get(name)
        if (value is not None and not isinstance(value, str)) or value not in allowed:
            named = ", ".join("null" if one is None else one for one in allowed)
            raise self.wrong(name, value, named if len(allowed) == 1 else f"one of {named}")
        return value

    def table(self, name: str) -> dict[str, Any]:
        value = self.get(name)
        if not isinstance(value, dict):
            raise self.wrong(name, value, "an object")
        return value

    def count(self, name: str) -> int | None:
        value = self.get(name)
        if value is not None and not _is_count(value):
            raise self.wrong(name, value, "null, or a whole number above 0")
        return value
