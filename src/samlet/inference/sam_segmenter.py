"""A `Sam`, exported or not, as a `Segmenter`: one encode an image, a few prompts at a time, masks when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from samlet.data.images import RGBImage
from samlet.data.transforms import Frame, preprocess
from samlet.errors import InputError
from samlet.inference.everything.generator import Everything, MaskGenerator
from samlet.inference.prompts import Prompts, make_prompts
from samlet.inference.segmenter import Answers, AnyModel, Segmenter
from samlet.inference.windows import Upscaler
from samlet.models import Embedding, PromptableModel
from samlet.models.decoders import DECODERS
from samlet.models.decoders.full import FullMaskDecoder, prompt_decoder
from samlet.models.decoders.sam.fast import Decoded, FastMaskDecoder

_LABELS = {"strategy": "hierarchical", "points_per_side": 32, "stability_score_thresh": 0.95}
_TOGETHER = 4  # prompts decoded together: larger batches fall out of a CPU's cache


class SamSegmenter:
    """See `Segmenter`. Answers are those of `Predictor`, without full-size masks that nobody looks at.

    Args:
        sam: the model.
        image_size: side of the encoder's input, pixels; the model's own if None.
    """

    def __init__(self, sam: PromptableModel, image_size: int | None = None) -> None:
        self.sam = sam.eval()
        self.image_size = sam.check_image_size(image_size)
        self._asked = {} if image_size is None else {"image_size": self.image_size}
        self._image: RGBImage | None = None
        self._encoded: tuple[Embedding, Frame, Upscaler, FastMaskDecoder | FullMaskDecoder] | None = None

    @property
    def promptable(self) -> PromptableModel:
        """The model."""
        return self.sam

    @property
    def label_options(self) -> dict[str, Any]:
        """Options that labels are made with; the decoder's kind has its own bound of predicted IoU."""
        least = DECODERS[self.sam.config.decoder.style].pred_iou_thresh
        return _LABELS | {"pred_iou_thresh": least, "image_size": self.image_size}

    def set_image(self, image: RGBImage) -> None:
        """Take an image (H, W, 3); it is encoded with the first prompt."""
        self._image, self._encoded = image, None

    @torch.inference_mode()
    def encode(self) -> None:
        """Encode the image now, if it is not encoded yet."""
        if self._encoded is None:
            pixels, frame = preprocess(self._the_image(), self.image_size, *self.sam.preprocessing)
            embedding = self.sam.encode(pixels[None].to(self.sam.dtype))
            decoder = prompt_decoder(self.sam, embedding)
            self._encoded = embedding, frame, Upscaler(frame, decoder.low_res_size), decoder

    @torch.inference_mode()
    def answer(self, points: Any = None, labels: Any = None, boxes: Any = None, masks: Any = None) -> Answers:
        """Answers to prompts; see `Segmenter.answer`."""
        self.encode()
        assert self._encoded is not None
        embedding, frame, upscaler, decoder = self._encoded
        prompts = make_prompts(frame, decoder.low_res_size, points, labels, boxes, masks)
        whole = decoder if masks is None else FullMaskDecoder(self.sam, embedding)
        starts = range(0, prompts.count, _TOGETHER)
        parts = [self._decode(whole, prompts, start) for start in starts]
        outputs = range(1, 1 + self.sam.config.decoder.num_multimask_outputs)
        return Answers(
            scores=torch.cat([part.iou for part in parts]).float().cpu().numpy(),
            singles=self._singles(whole, parts, *decoder.low_res_size),
            multi=tuple(outputs),
            draw=partial(_draw, whole, upscaler, parts, self.sam.config.mask_threshold, (frame.height, frame.width)),
        )

    def _singles(
        self, decoder: FastMaskDecoder | FullMaskDecoder, parts: list[Decoded], rows: int, columns: int
    ) -> Any:
        """Which output answers each prompt taken as unambiguous, (P,)."""
        kind, found = DECODERS[self.sam.config.decoder.style], []
        for part in parts:
            if kind.single_is_first or not kind.has_single_mask:  # what the masks look like does not count
                found.append(kind.single(part.iou, part.iou))
                continue
            firsts = [decoder.masks(part, prompt, [0])[:, :rows, :columns] for prompt in range(len(part.iou))]
            found.append(kind.single(torch.stack(firsts) - self.sam.config.mask_threshold, part.iou))
        return torch.cat(found).cpu().numpy()

    def _decode(self, decoder: FastMaskDecoder | FullMaskDecoder, prompts: Prompts, start: int) -> Decoded:
        part = prompts.part(start, start + _TOGETHER)
        for name, value in part.items():
            if value is not None:
                part[name] = value.to(self.sam.device, self.sam.dtype if value.is_floating_point() else None)
        if part["masks"] is None or isinstance(decoder, FastMaskDecoder):
            return decoder.transform(part["points"], part["labels"], part["boxes"])
        return decoder.transform(**part)

    def everything(self, **options: Any) -> Everything:
        """All masks of the image; options as of `MaskGenerator`."""
        generate = MaskGenerator(self.sam, **{"image_size": self.image_size, **options})
        encoded = None
        if generate.image_size == self.image_size:
            self.encode()
            assert self._encoded is not None
            encoded = self._encoded[:2]
        return generate(self._the_image(), encoded)

    def everything_settings(self, **options: Any) -> dict[str, Any]:
        """Fields of `EverythingOptions`; raises InputError for options that `MaskGenerator` does not take."""
        return asdict(MaskGenerator(self.sam, **self._asked | options).options)

    def fingerprint(self) -> str:
        """SHA-256 over all weights."""
        return self.sam.fingerprint()

    def _the_image(self) -> RGBImage:
        if self._image is None:
            raise InputError("no image is set; call set_image first")
        return self._image


def as_segmenter(model: AnyModel, image_size: int | None = None) -> Segmenter:
    """A model as a `Segmenter`, which it may be already.

    Args:
        model: it.
        image_size: side of its input, pixels; its own if None.

    Raises:
        InputError: an image size that the model does not allow.
    """
    if isinstance(model, PromptableModel):
        return SamSegmenter(model, image_size)
    if image_size not in (None, model.image_size):
        raise InputError(f"image size {image_size} was asked for, and the model takes {model.image_size} only")
    return model


@torch.inference_mode()
def _draw(
    decoder: FastMaskDecoder | FullMaskDecoder,
    upscaler: Upscaler,
    parts: list[Decoded],
    threshold: float,
    size: tuple[int, int],
    prompt: int,
    outputs: Sequence[int],
) -> NDArray[np.bool_]:
    """Full-size masks (K, H, W) of some outputs of a prompt."""
    rows, columns = upscaler.shape
    low_res = decoder.masks(parts[prompt // _TOGETHER], prompt % _TOGETHER, list(outputs))[:, :rows, :columns]
    return upscaler.draw(low_res, threshold, size)
