"""A page in the browser: model, runtime and photographs in one static folder."""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Unpack

from PIL import Image

from samlet import __version__
from samlet.data.bundled import CLICKS, bundled_photographs
from samlet.errors import InputError
from samlet.io.writing import write_json
from samlet.models import PromptableModel
from samlet.models.decoders import DECODERS
from samlet.runtimes.graphs import embedding_names
from samlet.web.config import WebConfig
from samlet.web.folder import check_folder, page_folder, write_listing
from samlet.web.graphs import PARTS, WebGraphs, check_model, write_graphs
from samlet.web.keywords import WebKeywords
from samlet.web.reference import everything_threshold

_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_PHOTOGRAPHS, _MODEL, _RUNTIME = "photos", "model", "runtime"
_THUMBNAIL = 160  # pixels
_LATER = (
    "sw.js",
    "ort.webgpu.mjs",
    "ort.webgpu.gz",
)  # what no first mask waits for; a GPU's runtime takes the other's place


@dataclass(frozen=True, kw_only=True)
class WebPage:
    """What was made.

    Attributes:
        folder: of the page.
        config: the settings.
        graphs: what the gate found.
        files: bytes of each file, by path.
        first_load_bytes: what a browser loads before the first mask.
        seconds: of the whole.
    """

    folder: Path
    config: WebConfig
    graphs: WebGraphs
    files: Mapping[str, int]
    first_load_bytes: int
    seconds: float


def make_page(
    model: PromptableModel,
    folder: str | Path,
    *,
    name: str = "model",
    overwrite: bool = False,
    notices: Path | None = None,
    **settings: Unpack[WebKeywords],
) -> WebPage:
    """Write a static page on which a model segments photographs in the browser.

    Args:
        model: a model, or one that was exported to ONNX.
        folder: a new folder.
        name: what the page calls the model.
        overwrite: replace an earlier page.
        notices: a folder whose `LICENSE` and `ORIGIN.md` go with the weights, if it has them.
        **settings: fields of `WebConfig`.

    Raises:
        InputError: a model that a browser cannot run, or a folder in use.
        SamletError: the graphs do not answer as the model does.
    """
    start = time.perf_counter()
    config = WebConfig(**settings)
    path = check_page(model, folder, overwrite, config)
    model = model.eval()
    with page_folder(path, overwrite) as temporary:
        own = _copy_page(temporary)
        _copy_photographs(temporary / _PHOTOGRAPHS)
        target = temporary / _MODEL
        target.mkdir()
        others = sum((temporary / name).stat().st_size for name in own)
        graphs = write_graphs(model, target, config, others)
        for notice in ("LICENSE", "ORIGIN.md"):
            if notices is not None and (notices / notice).is_file():
                shutil.copyfile(notices / notice, target / notice)
        write_json(target / "model.json", _description(model, name, config, graphs))
        first = [*own, f"{_MODEL}/model.json", *(f"{_MODEL}/{part}.onnx.gz" for part in PARTS)]
        listing = write_listing(temporary, first)
        (temporary / ".nojekyll").touch()  # GitHub Pages: the files as they are
    return WebPage(
        folder=path,
        config=config,
        graphs=graphs,
        files={entry["path"]: entry["bytes"] for entry in listing["files"]},
        first_load_bytes=listing["first_load_bytes"],
        seconds=time.perf_counter() - start,
    )


def check_page(model: PromptableModel, folder: str | Path, overwrite: bool, config: WebConfig) -> Path:
    """What can be known before anything is computed.

    Args:
        model: see `make_page`.
        folder: see `make_page`.
        overwrite: see `make_page`.
        config: the settings.

    Returns:
        The folder, absolute, links followed.

    Raises:
        InputError: a model that a browser cannot run, a folder in use, or a package that is missing.
    """
    path = check_folder(Path(folder), overwrite)
    for package in _NEEDED:
        if importlib.util.find_spec(package) is None:
            raise InputError(f"a page needs {package}, which is not installed; run: pip install 'samlet[export]'")
    check_model(model, config)
    return path


def _copy_page(folder: Path) -> list[str]:
    """The page's own files and the runtime; returns those of the first load."""
    source = files("samlet") / "web"
    names = []
    for part, inside in (("page", Path()), ("runtime", Path(_RUNTIME))):
        root = Path(str(source / part))
        for path in sorted(root.rglob("*")):
            if path.is_dir():
                continue
            target = folder / inside / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            if path.suffix in (".html", ".css", ".js", ".mjs", ".gz", ".svg") and path.name not in _LATER:
                names.append(target.relative_to(folder).as_posix())
    return names


def _copy_photographs(folder: Path) -> None:
    """The bundled photographs, small pictures of them, and where they come from."""
    folder.mkdir()
    entries = []
    for path in bundled_photographs():
        shutil.copyfile(path, folder / path.name)
        with Image.open(path) as picture:
            size = picture.size
            small = picture.convert("RGB")
            small.thumbnail((_THUMBNAIL, _THUMBNAIL))
            small.save(folder / f"{path.stem}.small.jpg", quality=80)
        entries.append({"name": path.stem, "width": size[0], "height": size[1], "clicks": CLICKS.get(path.name, ())})
    shutil.copyfile(bundled_photographs()[0].parent / "ORIGINS.md", folder / "ORIGINS.md")
    write_json(folder / "photos.json", {"photographs": entries})


def _description(model: PromptableModel, name: str, config: WebConfig, graphs: WebGraphs) -> dict[str, Any]:
    """What the page must know of the model."""
    about = model.config
    return {
        "name": name,
        "samlet": __version__,
        "size": config.size,
        "stride": about.encoder.stride,
        "resize": about.resize,
        "mean": list(about.pixel_mean),
        "std": list(about.pixel_std),
        "threshold": about.mask_threshold,
        "score": about.score,
        "single": _single(model),
        "embedding": list(embedding_names(about)),
        "weights": graphs.stored,
        "agreement": graphs.agreement,
        "everything_iou": everything_threshold(model),
        "reference": dict(graphs.reference),
    }


def _single(model: PromptableModel) -> str:
    """Which output answers prompts that are not ambiguous; see `samlet.models.outputs.single_masks`."""
    if not model.has_single_mask:
        return "none"
    return "first" if DECODERS[model.config.decoder.style].single_is_first else "stable"
