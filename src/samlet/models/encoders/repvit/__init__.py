"""The RepViT image encoder of EdgeSAM."""

from samlet.models.encoders.encoder import EncoderKind
from samlet.models.encoders.repvit.config import RepViTConfig
from samlet.models.encoders.repvit.encoder import RepViTEncoder
from samlet.models.encoders.repvit.initialisation import initialise

ENCODER = EncoderKind(config=RepViTConfig, module=RepViTEncoder, initialise=initialise)

__all__ = ["ENCODER", "RepViTConfig", "RepViTEncoder"]
