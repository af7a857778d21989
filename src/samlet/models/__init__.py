"""Models: `Sam`, its encoders, prompt encoder and mask decoder, their configs and channel groups. Tensors only."""

from samlet.models.config import DecoderConfig, EncoderConfig, SamConfig, TinyViTConfig, ViTConfig
from samlet.models.groups import ChannelGroup, Member
from samlet.models.interface import PromptableModel, trainable
from samlet.models.mask_decoder import DecoderOutput
from samlet.models.outputs import single_masks, trained_outputs
from samlet.models.repvit_config import RepViTConfig
from samlet.models.sam import ImageEncoder, Sam, build_encoder

__all__ = [
    "ChannelGroup",
    "DecoderConfig",
    "DecoderOutput",
    "EncoderConfig",
    "ImageEncoder",
    "Member",
    "PromptableModel",
    "RepViTConfig",
    "Sam",
    "SamConfig",
    "TinyViTConfig",
    "ViTConfig",
    "build_encoder",
    "single_masks",
    "trainable",
    "trained_outputs",
]
