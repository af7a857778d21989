"""SAM's prompt encoder and mask decoder."""

from samlet.models.decoders.kind import DecoderKind, first_output
from samlet.models.decoders.sam.mask_decoder import MaskDecoder
from samlet.models.decoders.sam.prompt_encoder import PromptEncoder

DECODER = DecoderKind(prompt_encoder=PromptEncoder, mask_decoder=MaskDecoder, single=first_output)

__all__ = ["DECODER", "MaskDecoder", "PromptEncoder"]
