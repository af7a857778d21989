"""Hiera with its feature pyramid, the image encoder of SAM 2."""

from samlet.models.encoders.encoder import EncoderKind
from samlet.models.encoders.hiera.config import HieraConfig
from samlet.models.encoders.hiera.encoder import HieraEncoder
from samlet.models.encoders.hiera.initialisation import initialise

ENCODER = EncoderKind(config=HieraConfig, module=HieraEncoder, initialise=initialise)

__all__ = ["ENCODER", "HieraConfig", "HieraEncoder"]
