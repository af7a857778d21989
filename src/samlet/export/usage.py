"""How exported graphs are fed, for those who write a program around them: `usage` in `export.json`, and `report.md`.

Names, types and sizes are what the graphs themselves say; numbers come from the model's config.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from samlet.data.transforms import Frame, Resize
from samlet.export.graphs import BOX_CORNER
from samlet.models import SamConfig
from samlet.models.decoders import DECODERS
from samlet.models.decoders.sam.prompt_encoder import NOT_A_POINT, PADDING
from samlet.runtimes.exported import ExportedSam
from samlet.runtimes.graphs import embedding_names
from samlet.runtimes.sessions import Port, Session

INTERPOLATIONS: dict[Resize, str] = {
    "longest_side": "bilinear with antialiasing, as Pillow's BILINEAR",
    "stretch": "bilinear without antialiasing, align_corners false",
    "stretch_antialiased": "bilinear with antialiasing, align_corners false",
}
"""What the pixels between pixels are, by how a photograph comes to the input."""

_EXAMPLE = (1200, 1800)  # height and width of a photograph
_CLICK = (900.0, 600.0)  # x, y on it


def usage(made: ExportedSam) -> dict[str, Any]:
    """What a program must know to run the graphs, ready for JSON."""
    about, config = made.manifest, made.config
    graphs = {part: graph_usage(about.files[part], one, config) for part, one in made.sessions.items()}
    return {
        "graphs": graphs,
        "photograph": _photograph(config, made.image_size, about.image_sizes),
        "prompts": _prompts(config, about.prompt_batch, about.points),
        "masks": _masks(config, made.image_size),
    }


def graph_usage(file: str, session: Session, config: SamConfig) -> dict[str, Any]:
    """What one graph takes and gives: name, type, sizes (null for any), what each axis is, what it means."""
    return {
        "file": file,
        "inputs": [_port(port, config) for port in session.inputs],
        "outputs": [_port(port, config) for port in session.outputs],
    }


def _port(port: Port, config: SamConfig) -> dict[str, Any]:
    axes, meaning = _meanings(config).get(port.name, ([], ""))
    return {"name": port.name, "dtype": port.type, "shape": list(port.shape), "axes": axes, "meaning": meaning}


def _meanings(config: SamConfig) -> dict[str, tuple[list[str], str]]:
    """Axes and meaning of every input and output by its name, samlet's own and those of segment-anything's layout."""
    stride = config.encoder.stride
    logits = [f"height of the input / {stride // 4}", f"width of the input / {stride // 4}"]
    points = "coordinates of clicks and of corners of boxes; see prompts"
    kinds = "what each point is; see prompts"
    whole = "logits at the photograph's size, padding cut off; only the threshold is left to do"
    earlier = ["masks given", "channel", *logits]
    found = {
        "image": (["images", "channel: R, G, B", "height of the input", "width of the input"], "see photograph"),
        "points": (["prompts", "points of a prompt", "x, y"], points),
        "labels": (["prompts", "points of a prompt"], kinds),
        "mask": (earlier, "an earlier answer, or zeros; see prompts"),
        "has_mask": (["one"], "1.0 if mask is an earlier answer, 0.0 if not"),
        "original_size": (["height, width"], "of the photograph, pixels"),
        "low_res": (["prompts", "masks", *logits], "logits of the masks; see masks"),
        "iou": (["prompts", "masks"], "predicted IoU of each mask"),
        "masks": (["prompts", "masks", "height of the photograph", "width of the photograph"], whole),
        "point_coords": (["prompt", "points of the prompt", "x, y"], points),
        "point_labels": (
            ["prompt", "points of the prompt"],
            f"{kinds}. End a prompt without a box with a point 0, 0 of label {NOT_A_POINT}; there is no {PADDING} here",
        ),
        "mask_input": (earlier, "an earlier answer (low_res_masks), or zeros; see prompts"),
        "has_mask_input": (["one"], "1.0 if mask_input is an earlier answer, 0.0 if not"),
        "orig_im_size": (["height, width"], "of the photograph, pixels"),
        "iou_predictions": (["prompt", "masks"], "predicted IoU of each mask"),
        "low_res_masks": (["prompt", "masks", *logits], "logits of the masks; see masks"),
    }
    for level, name in enumerate(embedding_names(config)):
        sides = [f"{side} of the input / {stride >> level}" for side in ("height", "width")]
        found[name] = (
            ["images", "channels", *sides],
            "what the encoder gives and the decoder takes, of one photograph",
        )
    found["image_embeddings"] = found["embedding"]
    return found


def _photograph(config: SamConfig, side: int, sizes: tuple[int, ...] | None) -> dict[str, Any]:
    """From a photograph to the encoder's input."""
    keeps = config.resize == "longest_side"
    frame = Frame(*_EXAMPLE, side, config.resize)
    click = frame.to_input(torch.tensor(_CLICK)).tolist()
    steps = [
        "decode the photograph, turn it upright (EXIF orientation), make it RGB with values from 0 to 255",
        "resize it so that its longest side is image_size: height * image_size / longest side, rounded half up, and "
        "width alike"
        if keeps
        else "stretch it to image_size x image_size, whatever its proportions",
        "subtract mean and divide by std, channel by channel",
        *(["pad it with zeros at the right and at the bottom to image_size x image_size"] if keeps else []),
        "put the channels first and an axis for images before them; the values are float32",
    ]
    return {
        "image_size": side,
        "image_sizes": None if sizes is None else list(sizes),
        "multiple_of": config.encoder.multiple,
        "colour_order": "RGB",
        "value_range": [0, 255],
        "resize": config.resize,
        "interpolation": INTERPOLATIONS[config.resize],
        "mean": list(config.pixel_mean),
        "std": list(config.pixel_std),
        "padding": "zeros at the right and at the bottom, after mean and std" if keeps else None,
        "steps": steps,
        "example": {
            "photograph": {"height": _EXAMPLE[0], "width": _EXAMPLE[1], "click": list(_CLICK)},
            "input": {"height": frame.resized[0], "width": frame.resized[1], "click": click},
        },
    }


def _prompts(config: SamConfig, count: int | None, points: int | None) -> dict[str, Any]:
    """How clicks, boxes and earlier masks are given."""
    kind = DECODERS[config.decoder.style]
    alone = "" if getattr(kind.prompt_encoder, "always_fills", False) else " without a box"
    said: dict[str, Any] = {
        "coordinates": "pixels of the encoder's input, x before y, 0 at the left and upper edge: x * resized width / "
        "width of the photograph, y * resized height / height of the photograph; the graph adds half a pixel itself",
        "labels": {
            "1": "a click on the object (foreground)",
            "0": "a click beside the object (background)",
            str(BOX_CORNER): "the left upper corner of a box",
            str(BOX_CORNER + 1): "the right lower corner of a box, the point after the other corner",
            str(
                NOT_A_POINT
            ): f"SAM's own filler, which the decoder's graph adds itself to every prompt{alone}: not given",
            str(PADDING): "no point: fills a prompt that has fewer points than others, and changes nothing",
        },
        "mask": "what the decoder said of one mask of an earlier answer on the same photograph (low_res: logits, no "
        "threshold), with has_mask 1.0. Without one: zeros, and has_mask 0.0"
        if kind.takes_masks
        else "this decoder takes none: zeros, and has_mask 0.0",
    }
    if count is not None and points is not None:
        said["fixed"] = (
            f"{count} prompts of {points} points in every call: fill up with points 0, 0 of label {PADDING}, and leave "
            "out what is answered to them"
        )
    return said


def _masks(config: SamConfig, side: int) -> dict[str, Any]:
    """From the decoder's answer to masks on the photograph."""
    kind, frame = DECODERS[config.decoder.style], Frame(*_EXAMPLE, side, config.resize)
    several = f"of the masks 1 to {config.decoder.num_multimask_outputs} the one of highest iou"
    if not kind.has_single_mask:
        which = f"take {several}"
    else:
        which = f"for one click or one box, which may mean several things, take {several}; for more clicks take mask 0"
        which += "" if kind.single_is_first else f", or, where its edge is unsure (stability), {several}"
    if config.score == "stability":
        which += ". iou was not trained in this model: samlet ranks its masks by their stability instead"
    if frame.one_step is None:
        steps = [
            "enlarge low_res to image_size x image_size, bilinear, align_corners false",
            "cut the padding off: keep the resized height and width of the photograph, from the left upper corner",
            "resize to the photograph's height and width, bilinear, align_corners false",
        ]
    else:
        steps = [f"resize low_res to the photograph's height and width, {frame.one_step}, align_corners false"]
    return {
        "which": which,
        "threshold": config.mask_threshold,
        "steps": [*steps, f"the mask is where the logits are above {config.mask_threshold:g}"],
    }


def usage_lines(said: Mapping[str, Any]) -> list[str]:
    """The same in Markdown, for people."""
    picture, prompts, masks = said["photograph"], said["prompts"], said["masks"]
    lines = ["## How to feed the graphs", "", "| graph | | name | type | shape | |", "|---|---|---|---|---|---|"]
    for graph in said["graphs"].values():
        for what in ("inputs", "outputs"):
            for port in graph[what]:
                sizes = ["any" if size is None else str(size) for size in port["shape"]]
                pairs = zip(port["axes"], sizes, strict=False)
                shown = "; ".join(f"{axis} ({size})" for axis, size in pairs) or ", ".join(sizes)
                cells = (graph["file"], what[:-1], f"`{port['name']}`", port["dtype"], shown, port["meaning"])
                lines.append(f"| {' | '.join(cells)} |")
    before, after = picture["example"]["photograph"], picture["example"]["input"]
    lines += ["", f"The photograph (image_size here: {picture['image_size']}):", ""]
    lines += [f"{number}. {step}" for number, step in enumerate(picture["steps"], start=1)]
    lines += [
        "",
        f"mean {_numbers(picture['mean'])}; std {_numbers(picture['std'])}; RGB, {_numbers(picture['value_range'])}; "
        f"resize {picture['resize']}, {picture['interpolation']}. A photograph {before['width']} wide and "
        f"{before['height']} high becomes {after['width']} x {after['height']}, and a click at "
        f"{_numbers(before['click'])} is given as {_numbers(after['click'])}.",
        "",
        "Prompts:",
        "",
        f"- coordinates: {prompts['coordinates']}",
        *(f"- label {label}: {meaning}" for label, meaning in prompts["labels"].items()),
        f"- mask: {prompts['mask']}",
        *([f"- fixed sizes: {prompts['fixed']}"] if "fixed" in prompts else []),
        "",
        f"Masks: {masks['which']}. Then:",
        "",
        *(f"{number}. {step}" for number, step in enumerate(masks["steps"], start=1)),
    ]
    return lines


def _numbers(values: list[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
