"""Models: `Sam`, its encoders, prompt encoder and mask decoder, their configs and channel groups. Tensors only."""

from samlet.models.config import DecoderConfig, SamConfig
from samlet.models.decoders.sam.mask_decoder import DecoderOutput
from samlet.models.embedding import Embedding, Maps, each_map, embedding_of, joined, maps_of, stacked
from samlet.models.encoders import EncoderConfig, ImageEncoder, build_encoder
from samlet.models.encoders.repvit.config import RepViTConfig
from samlet.models.encoders.tiny_vit.config import TinyViTConfig
from samlet.models.encoders.vit.config import ViTConfig
from samlet.models.groups import ChannelGroup, Member
from samlet.models.interface import PromptableModel, trainable
from samlet.models.outputs import single_masks, trained_outputs
from samlet.models.sam import Sam

__all__ = [
    "ChannelGroup",
    "DecoderConfig",
    "DecoderOutput",
    "Embedding",
    "EncoderConfig",
    "ImageEncoder",
    "Maps",
    "Member",
    "PromptableModel",
    "RepViTConfig",
    "Sam",
    "SamConfig",
    "TinyViTConfig",
    "ViTConfig",
    "build_encoder",
    "each_map",
    "embedding_of",
    "joined",
    "maps_of",
    "single_masks",
    "stacked",
    "trainable",
    "trained_outputs",
]
