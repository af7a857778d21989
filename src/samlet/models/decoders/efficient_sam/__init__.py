"""EfficientSAM's prompt encoder and mask decoder."""

from samlet.models.decoders.efficient_sam.decoder import EfficientMaskDecoder, EfficientPromptEncoder
from samlet.models.decoders.kind import DecoderKind, best_multimask

DECODER = DecoderKind(
    prompt_encoder=EfficientPromptEncoder,
    mask_decoder=EfficientMaskDecoder,
    single=best_multimask,
    has_single_mask=False,
    single_is_first=False,
    takes_masks=False,
    shares=False,
    exports=False,
)

__all__ = ["DECODER", "EfficientMaskDecoder", "EfficientPromptEncoder"]
