"""Whether an export takes one image size or any."""

from __future__ import annotations

from samlet.export.config import ExportConfig
from samlet.models import Sam


def fixed_size(sam: Sam, config: ExportConfig) -> int | None:
    """The one side of the input that the graphs will take; None for any.

    A ViT and a Hiera resample their position tables to the size of the image, in operations that a graph cannot hold
    open.
    """
    own = config.target.fixed_sizes or sam.config.encoder.fixed_size_graph
    return sam.config.check_image_size(config.image_size) if own or config.image_size else None
