"""The TinyViT image encoder of MobileSAM and TinySAM."""

from samlet.models.encoders.encoder import EncoderKind
from samlet.models.encoders.tiny_vit.config import TinyViTConfig
from samlet.models.encoders.tiny_vit.encoder import TinyViTEncoder
from samlet.models.encoders.tiny_vit.initialisation import initialise

ENCODER = EncoderKind(config=TinyViTConfig, module=TinyViTEncoder, initialise=initialise)

__all__ = ["ENCODER", "TinyViTConfig", "TinyViTEncoder"]
