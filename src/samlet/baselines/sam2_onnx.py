"""SAM 2 on images, run from ONNX: a stronger source of masks than any small SAM.

Ravi et al., "SAM 2: Segment Anything in Images and Videos", 2024. An exported pair of graphs carries no single-mask
output and no memory: each image stands alone, and every prompt is answered by three masks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from samlet.baselines.sam2_graphs import IMAGE_SIZE, LOW_RES, MASKS, Decoded, Features, Floats, Sam2Graphs
from samlet.checkpoints.reading import EXPORT
from samlet.data.images import RGBImage
from samlet.data.masks import rle_area
from samlet.data.transforms import Frame
from samlet.errors import InputError
from samlet.inference.everything.generator import Everything
from samlet.inference.everything.options import EverythingOptions
from samlet.inference.everything.suppression import box_iou
from samlet.inference.predictor import as_rgb
from samlet.inference.prompts import Prompts, make_prompts
from samlet.inference.segmenter import Answers
from samlet.inference.windows import LogitWindow, MaskWindow, Upscaler
from samlet.io.paths import expanded
from samlet.models.decoders.sam.prompt_encoder import PADDING

_TOGETHER = 4  # prompts decoded together: more are no faster on a CPU
_THRESHOLD = 0.0  # of a mask's logits
_LEAST_IOU = 0.88  # in everything mode
_SUFFIXES = (".onnx", ".ort")
_LABELS = {"strategy": "grid", "points_per_side": 16, "pred_iou_thresh": 0.88, "stability_score_thresh": 0.95}
_OPTIONS = (
    "strategy",
    "points_per_side",
    "points_per_batch",
    "pred_iou_thresh",
    "stability_score_thresh",
    "stability_score_offset",
    "box_nms_thresh",
)


def find_pair(folder: Path) -> tuple[Path, Path] | None:
    """Encoder and decoder of a SAM 2 in a folder: its one `*encoder*` and its one `*decoder*`, `.onnx` or `.ort`.

    None for a folder that holds none or several, or a `config.json` or `export.json`, for then it is a model of another
    kind.
    """
    if not folder.is_dir() or any((folder / name).exists() for name in ("config.json", EXPORT)):
        return None
    graphs = [path for path in sorted(folder.iterdir()) if path.suffix in _SUFFIXES and path.is_file()]
    encoders, decoders = ([path for path in graphs if part in path.name.lower()] for part in ("encoder", "decoder"))
    if len(encoders) != 1 or len(decoders) != 1 or encoders == decoders:
        return None
    return encoders[0], decoders[0]


@dataclass(frozen=True)
class _Seen:
    """The image that is looked at."""

    features: Features
    frame: Frame
    upscaler: Upscaler
    seconds: float


@dataclass(frozen=True)
class _Candidate:
    """A mask that may stay: predicted IoU, number and place (pixels of the image) of its prompt, low-res logits."""

    iou: float
    number: int
    point: tuple[float, float]
    window: LogitWindow


class Sam2Onnx:
    """A pair of graphs and the image it looks at: a `samlet.inference.segmenter.Segmenter`.

    Args:
        encoder: see `Sam2Graphs`.
        decoder: see `Sam2Graphs`.
        threads: of the networks; onnxruntime's choice if None.

    Attributes:
        image_size: side of the encoder's square input, pixels, to which images are stretched.

    Raises:
        CheckpointError: no file, a damaged one, or another network's.
        InputError: onnxruntime is not installed, or fewer than one thread.
    """

    def __init__(self, encoder: str | Path, decoder: str | Path, threads: int | None = None) -> None:
        self._graphs = Sam2Graphs(expanded(encoder), expanded(decoder), threads)
        self.image_size = IMAGE_SIZE
        self._seen: _Seen | None = None

    def fingerprint(self) -> str:
        """SHA-256 over both files."""
        return self._graphs.fingerprint()

    def set_image(self, image: RGBImage) -> None:
        """Encode an image.

        Args:
            image: (H, W, 3) uint8 RGB.

        Raises:
            InputError: something that is no image.
            CheckpointError: the encoder cannot be run.
        """
        start = time.perf_counter()
        pixels = as_rgb(image)
        frame = Frame(pixels.shape[0], pixels.shape[1], IMAGE_SIZE, "stretch_antialiased")
        upscaler = Upscaler(frame, (LOW_RES, LOW_RES))
        features = self._graphs.encode(pixels)
        self._seen = _Seen(features, frame, upscaler, time.perf_counter() - start)

    @property
    def promptable(self) -> None:
        """None: nothing of samlet's is inside."""
        return None

    @property
    def label_options(self) -> dict[str, Any]:
        """Options that labels are made with."""
        return dict(_LABELS)

    def encode(self) -> None:
        """Nothing is left to compute: `set_image` has done it."""
        self._image()

    def answer(self, points: Any = None, labels: Any = None, boxes: Any = None, masks: Any = None) -> Answers:
        """Answer prompts; arguments as of `Predictor.predict`. There is no single-mask output.

        Raises:
            InputError: no image is set, coordinates lie outside the image, or shapes do not fit.
            CheckpointError: the decoder cannot be run.
        """
        seen = self._image()
        prompts = make_prompts(seen.frame, (LOW_RES, LOW_RES), points, labels, boxes, masks)
        decoded = self._decode(seen.features, prompts)
        size = (seen.frame.height, seen.frame.width)
        draw = partial(_draw, seen.upscaler, torch.from_numpy(decoded.low_res), size)
        return Answers(scores=decoded.iou, singles=decoded.iou.argmax(axis=1), multi=tuple(range(MASKS)), draw=draw)

    def _decode(self, features: Features, prompts: Prompts) -> Decoded:
        """Answers to prompts, those of equal length together, for padding would change what the graph answers."""
        clicks = [_clicks(prompts, p) for p in range(prompts.count)]
        low_res = np.empty((prompts.count, MASKS, LOW_RES, LOW_RES), np.float32)
        iou = np.empty((prompts.count, MASKS), np.float32)
        for length in {len(labels) for _, labels in clicks}:
            alike = [p for p, (_, labels) in enumerate(clicks) if len(labels) == length]
            for start in range(0, len(alike), _TOGETHER):
                part = alike[start : start + _TOGETHER]
                points, labels = (np.stack(values) for values in zip(*(clicks[p] for p in part), strict=True))
                masks = None if prompts.masks is None else prompts.masks[part].numpy()
                decoded = self._graphs.decode(features, points, labels, masks)
                low_res[part], iou[part] = decoded.low_res, decoded.iou
        return Decoded(low_res, iou)

    def everything_settings(self, **options: Any) -> dict[str, Any]:
        """These options; raises InputError for others than `everything` takes."""
        _grid_options(options)
        return options

    def everything(self, **options: Any) -> Everything:
        """All masks of the image, best predicted IoU first, with the keys of `MaskGenerator`'s.

        Args:
            **options: of `EverythingOptions`: `points_per_side`, `points_per_batch`, `pred_iou_thresh`,
                `stability_score_thresh`, `stability_score_offset`, `box_nms_thresh`, and `strategy`, which is `grid`.

        Raises:
            InputError: no image is set, or another option is given.
            CheckpointError: the decoder cannot be run.
        """
        chosen, seen, start = _grid_options(options), self._image(), time.perf_counter()
        height, width = seen.frame.height, seen.frame.width
        points = chosen.grid(0) * [width, height]
        records: list[dict[str, Any]] = []
        boxes = np.zeros((0, 4))
        for candidate in sorted(self._candidates(seen, points, chosen), key=lambda found: (-found.iou, found.number)):
            mask = seen.upscaler.mask(candidate.window, _THRESHOLD, chosen.stability_score_offset)
            if mask.stability < chosen.stability_score_thresh or not mask.mask.any():
                continue
            if (box_iou(mask.box, boxes) <= chosen.box_nms_thresh).all():
                boxes = np.concatenate([boxes, [mask.box]])
                records.append(_record(candidate, mask, height, width))
        return Everything(records, len(points), seen.seconds + time.perf_counter() - start, (height, width))

    def _candidates(self, seen: _Seen, points: NDArray[np.float64], options: EverythingOptions) -> Iterator[_Candidate]:
        """Masks of good predicted IoU for one click each, at points (N, 2), pixels of the image."""
        least = _LEAST_IOU if options.pred_iou_thresh is None else options.pred_iou_thresh
        inputs = seen.frame.to_input(torch.from_numpy(points).float()).numpy()
        for start in range(0, len(points), options.points_per_batch):
            clicks = inputs[start : start + options.points_per_batch, None]
            decoded = self._graphs.decode(seen.features, clicks, np.ones(clicks.shape[:2], np.float32))
            for prompt, output in np.argwhere(decoded.iou > least):
                number = start + int(prompt)
                logits = torch.from_numpy(decoded.low_res[prompt, output])
                window = seen.upscaler.window(logits, _THRESHOLD - options.stability_score_offset)
                x, y = points[number]
                iou = float(decoded.iou[prompt, output])
                yield _Candidate(iou, number * MASKS + int(output), (float(x), float(y)), window)

    def _image(self) -> _Seen:
        if self._seen is None:
            raise InputError("no image is set; call set_image first")
        return self._seen


def _grid_options(options: dict[str, Any]) -> EverythingOptions:
    for name, value in options.items():
        if name not in _OPTIONS:
            raise InputError(
                f"everything was given {name}={value!r}; expected only {', '.join(_OPTIONS)} for SAM 2 run from ONNX"
            )
    chosen = EverythingOptions(**options)
    if chosen.strategy != "grid":
        raise InputError(f"strategy is {chosen.strategy}; expected grid, the only one for SAM 2 run from ONNX")
    return chosen


def _clicks(prompts: Prompts, number: int) -> tuple[Floats, Floats]:
    """A prompt as clicks (K, 2) and labels (K,), the corners of its box first."""
    points, labels = np.zeros((0, 2), np.float32), np.zeros(0, np.float32)
    if prompts.boxes is not None:
        points, labels = prompts.boxes[number].view(2, 2).numpy(), np.array([2, 3], np.float32)
    if prompts.points is not None and prompts.labels is not None:
        real = prompts.labels[number] != PADDING
        points = np.concatenate([points, prompts.points[number][real].numpy()])
        labels = np.concatenate([labels, prompts.labels[number][real].numpy().astype(np.float32)])
    return points, labels


def _draw(
    upscaler: Upscaler, low_res: torch.Tensor, size: tuple[int, int], prompt: int, outputs: Sequence[int]
) -> NDArray[np.bool_]:
    """Full-size masks (K, H, W) of some outputs of a prompt."""
    return upscaler.draw(low_res[prompt, list(outputs)], _THRESHOLD, size)


def _record(candidate: _Candidate, mask: MaskWindow, height: int, width: int) -> dict[str, Any]:
    """A dictionary as in `Everything`."""
    rle = mask.encode(height, width)
    x0, y0, x1, y1 = mask.box
    return {
        "segmentation": rle,
        "area": rle_area(rle),
        "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1],
        "predicted_iou": candidate.iou,
        "stability_score": mask.stability,
        "point_coords": [list(candidate.point)],
        "crop_box": [0, 0, width, height],
    }
