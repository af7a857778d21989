"""FastSAM, run from ONNX: the baseline that detects all objects at once and lets prompts choose among them.

Zhao et al., "Fast Segment Anything", 2023. Its weights are not part of samlet; their licence is AGPL-3.0. ultralytics
exports them: `YOLO("FastSAM-s.pt").export(format="onnx", imgsz=1024)`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samlet.baselines.detections import COEFFICIENTS, Detections, Letterbox, detect
from samlet.baselines.onnx_session import check_threads, digest, fits, open_session, run_session, shape_text
from samlet.data.images import RGBImage
from samlet.data.transforms import Frame
from samlet.errors import CheckpointError, InputError
from samlet.inference.everything.generator import Everything
from samlet.inference.predictor import as_rgb
from samlet.inference.prompts import make_prompts
from samlet.inference.segmenter import Answers
from samlet.io.paths import expanded

_SIZE = 1024  # of the input where the graph leaves it open
_STRIDE = 32
_ROWS = 4 + 1 + COEFFICIENTS  # of a prediction: box, score of the one class, coefficients
_TYPES: dict[str, type[np.floating]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_EXPORT = "export FastSAM-s.pt or FastSAM-x.pt with ultralytics (format onnx)"


class FastSam:
    """A FastSAM network and the image it looks at: a `samlet.inference.segmenter.Segmenter` with one mask a prompt.

    Args:
        path: an ONNX file: input (1, 3, H, W), outputs (1, 37, N) and (1, 32, H/4, W/4).
        confidence: detections of a score of at most this are dropped.
        iou: of two detections whose boxes' IoU exceeds this, that of the lower score is dropped.
        max_detections: most detections in an image.
        threads: of the network; onnxruntime's choice if None.

    Attributes:
        image_size: the longer side of the network's input, pixels; 1024 where the graph leaves it open.

    Raises:
        CheckpointError: no file, no ONNX graph, or another network's.
        InputError: onnxruntime is not installed, or a number out of range.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        confidence: float = 0.4,
        iou: float = 0.9,
        max_detections: int = 300,
        threads: int | None = None,
    ) -> None:
        for name, share in (("confidence", confidence), ("iou", iou)):
            if not 0 <= share <= 1:
                raise InputError(f"{name} is {share}; expected a number from 0 to 1")
        if max_detections < 1:
            raise InputError(f"max_detections is {max_detections}; expected at least 1")
        check_threads(threads)
        self.path = expanded(path)
        self.confidence, self.iou, self.max_detections = confidence, iou, max_detections
        self._session = open_session(self.path, threads, "FastSAM", _EXPORT)
        self._size, self._type = _check_inputs(self._session.get_inputs(), self.path)
        outputs = self._session.get_outputs()
        self._outputs = [outputs[i].name for i in _pick([entry.shape for entry in outputs], self._size, self.path)]
        self.image_size = max(self._size)
        self._found: Detections | None = None
        self._seconds = 0.0

    def set_image(self, image: RGBImage) -> None:
        """Run the network and make the masks of all detections, which are kept as run-length codes.

        Args:
            image: (H, W, 3) uint8 RGB.

        Raises:
            InputError: something that is no image.
            CheckpointError: the network cannot be run.
        """
        start = time.perf_counter()
        pixels = as_rgb(image)
        frame = Letterbox(pixels.shape[0], pixels.shape[1], self._size)
        values = frame.pixels(pixels).astype(self._type, copy=False)
        inputs = {self._session.get_inputs()[0].name: values}
        outputs = run_session(self._session, self._outputs, inputs, self.path, _EXPORT)
        _pick([output.shape for output in outputs], self._size, self.path)
        predictions, prototypes = (output[0].astype(np.float32, copy=False) for output in outputs)
        self._found = detect(predictions, prototypes, frame, self.confidence, self.iou, self.max_detections)
        self._seconds = time.perf_counter() - start

    @property
    def promptable(self) -> None:
        """None: nothing of samlet's is inside."""
        return None

    @property
    def label_options(self) -> dict[str, Any]:
        """None: there are none to choose."""
        return {}

    def encode(self) -> None:
        """Nothing is left to compute: `set_image` has done it."""
        self._image()

    def answer(self, points: Any = None, labels: Any = None, boxes: Any = None, masks: Any = None) -> Answers:
        """Answer prompts by the authors' rules; arguments as of `Predictor.predict`, without `masks`.

        Points: the masks that hold any of a prompt's points are taken from the largest to the smallest, and each is
        added to the answer or cut out of it, as the label of the last point in it says. Its score is that of the best
        detection added; 0 and an empty mask if there is none.
        Boxes: the detection whose mask has the highest IoU with the box's rectangle, the first one if none touches it.

        Raises:
            InputError: no image is set, `masks` or both points and boxes are given, coordinates lie outside the image,
                or shapes do not fit.
        """
        found = self._image()
        if masks is not None:
            raise InputError("masks were given, and FastSAM takes none; expected points or boxes")
        if points is not None and boxes is not None:
            raise InputError("points and boxes were given together; expected one kind for FastSAM, so ask one by one")
        if points is None and boxes is None and labels is None:
            raise InputError("no prompt was given; expected points or boxes")
        height, width = found.size
        prompts = make_prompts(Frame(height, width, max(height, width)), (0, 0), points, labels, boxes)
        if prompts.points is None or prompts.labels is None:
            return found.by_boxes(np.asarray(prompts.boxes))
        return found.by_points(prompts.points.numpy(), prompts.labels.numpy())

    def everything(self, **options: Any) -> Everything:
        """All masks of the image, best score first, with the keys of `MaskGenerator`'s; a mask may be empty.

        `predicted_iou` is the detection's score, `point_coords` the centre of its box, `crop_box` the whole image.
        `stability_score` is always 1: FastSAM has no such number. `seconds` counts `set_image` as well.

        Raises:
            InputError: no image is set, or an option is given, for there are none.
        """
        self.everything_settings(**options)
        found, start = self._image(), time.perf_counter()
        records = found.records()
        return Everything(records, 0, self._seconds + time.perf_counter() - start, found.size)

    def everything_settings(self, **options: Any) -> dict[str, Any]:
        """None, and InputError for any option: there are none."""
        for name, value in options.items():
            raise InputError(
                f"everything was given {name}={value!r}; expected no option: FastSAM takes confidence, iou and "
                "max_detections when it is opened"
            )
        return options

    def fingerprint(self) -> str:
        """SHA-256 over the file and what was chosen when it was opened."""
        return digest([self.path], self.confidence, self.iou, self.max_detections)

    def _image(self) -> Detections:
        if self._found is None:
            raise InputError("no image is set; call set_image first")
        return self._found


def _check_inputs(inputs: Sequence[Any], path: Path) -> tuple[tuple[int, int], type[np.floating]]:
    """Height, width and type of the network's input."""
    if len(inputs) == 1 and inputs[0].type in _TYPES and fits(inputs[0].shape, (1, 3, None, None)):
        height, width = (side if isinstance(side, int) else _SIZE for side in inputs[0].shape[2:])
        if min(height, width) > 0 and height % _STRIDE == width % _STRIDE == 0:
            return (height, width), _TYPES[inputs[0].type]
    found = ", ".join(f"{entry.type} {shape_text(entry.shape)}" for entry in inputs[:8])
    raise CheckpointError(
        f"{path} has the inputs {found}; expected one, float (1, 3, H, W), H and W multiples of {_STRIDE}; {_EXPORT}"
    )


def _pick(shapes: list[Sequence[Any]], size: tuple[int, int], path: Path) -> list[int]:
    """Which outputs are the predictions and the prototypes."""
    wanted = (1, _ROWS, None), (1, COEFFICIENTS, size[0] // 4, size[1] // 4)
    picked = [[i for i, shape in enumerate(shapes) if fits(shape, pattern)] for pattern in wanted]
    if [len(numbers) for numbers in picked] != [1, 1]:
        found = ", ".join(shape_text(shape) for shape in shapes[:8])
        first, second = map(shape_text, wanted)
        raise CheckpointError(f"{path} has the outputs {found}; expected one {first} and one {second}; {_EXPORT}")
    return [numbers[0] for numbers in picked]
