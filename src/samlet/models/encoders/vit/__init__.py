"""SAM's ViTDet image encoder."""

from samlet.models.encoders.encoder import EncoderKind
from samlet.models.encoders.vit.config import ViTConfig
from samlet.models.encoders.vit.encoder import ViTEncoder
from samlet.models.encoders.vit.initialisation import initialise

ENCODER = EncoderKind(config=ViTConfig, module=ViTEncoder, initialise=initialise)

__all__ = ["ENCODER", "ViTConfig", "ViTEncoder"]
