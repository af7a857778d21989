"""Masks for prompts on photographs."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from samlet.data.images import RGBImage, array_to_rgb, decode_image, read_image, to_rgb
from samlet.data.transforms import Frame, preprocess
from samlet.errors import InputError, SamletError
from samlet.inference import embeddings
from samlet.inference.prediction import Prediction
from samlet.inference.prompts import Prompts, make_prompts
from samlet.io.paths import expanded
from samlet.models import Embedding, PromptableModel, joined, maps_of, single_masks

_PROMPT_BATCH = 8  # prompts decoded together: larger batches fall out of a CPU's cache
_STABILITY_OFFSET = 1.0

_BROKEN = "its weights are broken, or too large for their precision: take another checkpoint, or float32"

AnyImage = RGBImage | Tensor | Image.Image | bytes | str | Path

_CHANNELS = (1, 3, 4)


class Predictor:
    """Encode an image once, then ask for masks as often as you like.

    Args:
        sam: the model, or its name or path (see `samlet.load`).
        image_size: side that images are resized to, pixels, a multiple of 16; the model's own if None. Smaller is
            faster and coarser.

    Examples:
        >>> predictor = samlet.Predictor("mobile_sam")
        >>> predictor.set_image("photo.jpg")
        >>> answer = predictor.predict(points=[[500, 375]])
        >>> answer.best().masks.shape
        (1, 1, 1200, 1800)
    """

    def __init__(self, sam: PromptableModel | str | Path, image_size: int | None = None) -> None:
        self.sam = as_model(sam).eval()
        self.image_size = self.sam.check_image_size(image_size)
        self._embeddings: list[Embedding] = []
        self._frames: list[Frame] = []
        self._images: list[RGBImage | None] = []
        self._many = False
        self._digest = ""

    @torch.inference_mode()
    def set_image(self, image: AnyImage | Sequence[AnyImage]) -> None:
        """Encode one image, or several at once.

        Args:
            image: (H, W, 3) RGB or (H, W) grey, uint8 or of any number type (see `samlet.data.ranges`), a PIL image or
                a path; or a list of them.

        Raises:
            InputError: something that is no image.
        """
        self._many = isinstance(image, list | tuple)
        images = cast("list[AnyImage]", list(image) if isinstance(image, list | tuple) else [image])
        self._embeddings, self._frames, self._images = [], [], []
        for entry in images:
            image_rgb = as_rgb(entry)
            self._digest = embeddings.digest(image_rgb)
            pixels, frame = preprocess(image_rgb, self.image_size, *self.sam.preprocessing)
            self._embeddings.append(finite_embedding(self.sam.encode(pixels[None].to(self.sam.dtype))))
            self._frames.append(frame)
            self._images.append(image_rgb)

    def save_embedding(self, path: str | Path) -> None:
        """Write the embedding of the one image that is set, so that its prompts can be answered later without encoding.

        Args:
            path: a new `.safetensors` file.

        Raises:
            InputError: no image, or several, are set; or something is at `path`.
        """
        self._check_set()
        if self._many:
            raise InputError("several images are set; set one of them to save its embedding")
        embeddings.write(expanded(path), self._embeddings[0], self._frames[0], self._digest, self.sam)

    def load_embedding(self, path: str | Path, image: AnyImage | None = None) -> None:
        """Set the image whose embedding a file holds.

        Args:
            path: written by `save_embedding` of a predictor of the same model and image size.
            image: the image that it is meant to be of; not looked at if None.

        Raises:
            InputError: no such file, or the embedding of another model, image size or image.
        """
        photograph = None if image is None else as_rgb(image)
        digest = None if photograph is None else embeddings.digest(photograph)
        embedding, frame, self._digest = embeddings.read(expanded(path), self.sam, self.image_size, digest)
        self._embeddings, self._frames, self._images, self._many = [embedding], [frame], [photograph], False

    @property
    def embedding(self) -> Embedding:
        """Image embeddings (N, C, h, w) of the images set; of SAM 2 with their finer maps."""
        self._check_set()
        return joined(self._embeddings)

    @torch.inference_mode()
    def predict(
        self,
        points: Any = None,
        labels: Any = None,
        boxes: Any = None,
        masks: Any = None,
        multimask: bool = True,
        *,
        point_coords: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask_input: Any = None,
        multimask_output: bool | None = None,
    ) -> Any:
        """Masks for prompts.

        The answer is a `Prediction`, which also unpacks as segment-anything's does: `masks, scores, logits = …`. After
        `set_image` with a list, every argument is a list with one entry an image, and so is the answer.

        Args:
            points: (2,) x, y in pixels of the original image for one click; (K, 2) for one prompt of K clicks;
                (P, K, 2) for P prompts; or a list of P arrays of differing lengths.
            labels: 1 foreground, 0 background, shaped as `points` without the last axis; all foreground if None.
            boxes: (4,) or (P, 4) x0, y0, x1, y1.
            masks: low-res logits (P, h, w) of an earlier answer.
            multimask: True for the three masks of an ambiguous prompt, False for the single-mask output, or the best
                of the three where the model has none (EfficientSAM).
            point_coords: segment-anything's name of `points`.
            point_labels: of `labels`.
            box: of `boxes`.
            mask_input: of `masks`.
            multimask_output: of `multimask`.

        Raises:
            InputError: no image is set, coordinates lie outside it, or shapes do not fit.
        """
        self._check_set()
        points = _either("points", points, "point_coords", point_coords)
        labels = _either("labels", labels, "point_labels", point_labels)
        boxes = _either("boxes", boxes, "box", box)
        masks = _either("masks", masks, "mask_input", mask_input)
        multimask = multimask if multimask_output is None else multimask_output
        if not self._many:
            return self._predict_one(0, points, labels, boxes, masks, multimask)
        count = len(self._frames)
        given = {"points": points, "labels": labels, "boxes": boxes, "masks": masks}
        for name, value in given.items():
            if value is not None and len(value) != count:
                raise InputError(f"{name} has {len(value)} entries for {count} images; expected one for each image")
        return [
            self._predict_one(i, multimask=multimask, **{k: None if v is None else v[i] for k, v in given.items()})
            for i in range(count)
        ]

    def _check_set(self) -> None:
        if not self._frames:
            raise InputError("no image is set; call set_image before predict")

    def _predict_one(self, i: int, points: Any, labels: Any, boxes: Any, masks: Any, multimask: bool) -> Prediction:
        embedding, frame = self._embeddings[i], self._frames[i]
        low_res_size = (4 * embedding.shape[2], 4 * embedding.shape[3])
        prompts = make_prompts(frame, low_res_size, points, labels, boxes, masks)
        low_res, iou = decode(self.sam, embedding, prompts)
        if multimask:
            low_res, iou = low_res[:, 1:], iou[:, 1:]
        else:
            low_res, iou = (part[:, None] for part in single_masks(self.sam, low_res, iou))
        threshold = self.sam.config.mask_threshold
        answers, stability = [], []
        for part in low_res.split(1):
            logits = frame.upscale(part)
            answers.append((logits > threshold).cpu().numpy())
            inner = (logits > threshold + _STABILITY_OFFSET).sum((-2, -1))
            outer = (logits > threshold - _STABILITY_OFFSET).sum((-2, -1))
            stability.append((inner / outer.clamp(min=1)).float().cpu().numpy())
        return Prediction(
            np.concatenate(answers),
            iou.float().cpu().numpy(),
            np.concatenate(stability),
            low_res.float().cpu().numpy(),
            self._images[i],
            prompts.asked,
        )


def _either(name: str, value: Any, other: str, same: Any) -> Any:
    """An argument that has two names."""
    if value is not None and same is not None:
        raise InputError(f"{name} and {other} were given together, and mean the same; give one of them")
    return same if value is None else value


def as_model(model: PromptableModel | str | Path) -> PromptableModel:
    """A model, loaded where it is named.

    Raises:
        InputError: an unknown name, a file that cannot be read, or something that is no model.
    """
    if isinstance(model, str | Path):
        from samlet.zoo import load  # only now: a predictor of a model at hand needs no zoo

        return load(model)
    if not isinstance(model, PromptableModel):
        raise InputError(
            f"the model is a {type(model).__name__}; expected a model of samlet's, or its name or path as for "
            "samlet.load"
        )
    return model


def finite_embedding(embedding: Embedding) -> Embedding:
    """The same embedding; raises SamletError where it holds NaN or infinity."""
    if not all(bool(torch.isfinite(one).all()) for one in maps_of(embedding)):
        raise SamletError(f"the image embedding is not made of finite numbers; {_BROKEN}")
    return embedding


def decode(sam: PromptableModel, embedding: Embedding, prompts: Prompts) -> tuple[Tensor, Tensor]:
    """All outputs of the decoder for prompts on one image, a few prompts at a time.

    Returns:
        Low-res logits (P, M, h, w) and predicted IoU (P, M); output 0 is the single mask, the others the multimask.
    """
    outputs = []
    for start in range(0, prompts.count, _PROMPT_BATCH):
        part = prompts.part(start, start + _PROMPT_BATCH)
        moved = {
            name: None if value is None else value.to(sam.device, sam.dtype if value.is_floating_point() else None)
            for name, value in part.items()
        }
        outputs.append(sam.decode(embedding, **moved))
        if not all(bool(torch.isfinite(one).all()) for one in (outputs[-1].iou, outputs[-1].low_res)):
            raise SamletError(f"the model's masks or predicted IoUs are not finite numbers; {_BROKEN}")
    return torch.cat([o.low_res for o in outputs]), torch.cat([o.iou for o in outputs])


def as_rgb(image: AnyImage) -> RGBImage:
    """An image of any kind that callers may pass as (H, W, 3) uint8 RGB.

    Args:
        image: a path; the bytes of a file; a PIL image; an array, (H, W) grey, (H, W, 3) RGB or (H, W, 4) with an alpha
            that is dropped; a tensor, which may also have its channels first.

    Raises:
        InputError: something else, a damaged picture, or an address, which is not fetched.
    """
    if isinstance(image, str) and re.match(r"[a-z][a-z0-9+.-]+://", image):
        raise InputError(f"{image} is an address, and samlet fetches none; download the picture and give its path")
    if isinstance(image, str | Path):
        return read_image(image)
    if isinstance(image, bytes | bytearray):
        return decode_image(io.BytesIO(image), "the picture")
    if isinstance(image, Image.Image):
        return to_rgb(image)
    if isinstance(image, Tensor):
        values = image.detach().cpu().numpy()
        channels_first = values.ndim == 3 and values.shape[0] in _CHANNELS and values.shape[2] not in _CHANNELS
        return array_to_rgb(np.ascontiguousarray(values.transpose(1, 2, 0)) if channels_first else values)
    if isinstance(image, np.ndarray):
        return array_to_rgb(image)
    raise InputError(
        f"the image is a {type(image).__name__}; expected a path, bytes, a PIL image, (H, W, 3) RGB or (H, W) grey"
    )
