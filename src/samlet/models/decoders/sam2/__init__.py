"""SAM 2's prompt encoder and mask decoder, for images."""

from samlet.models.decoders.kind import DecoderKind
from samlet.models.decoders.sam2.decoder import Sam2MaskDecoder, Sam2PromptEncoder, stable_single

DECODER = DecoderKind(
    prompt_encoder=Sam2PromptEncoder,
    mask_decoder=Sam2MaskDecoder,
    single=stable_single,
    single_is_first=False,
    pred_iou_thresh=0.8,
    fine_channels=lambda channels: (channels // 4, channels // 8),
)

__all__ = ["DECODER", "Sam2MaskDecoder", "Sam2PromptEncoder", "stable_single"]
