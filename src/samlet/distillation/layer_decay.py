"""Layer-wise decay of the learning rate: the nearer to the photograph, the slower (Clark et al., "ELECTRA", 2020)."""

from __future__ import annotations

from collections.abc import Callable

from samlet.models import Sam

_ENCODER = "image_encoder."


def block_depths(sam: Sam) -> dict[str, int]:
    """How deep each parameter of the image encoder lies: 0 before the first block, i + 1 in block i; what stands
    between two blocks belongs to the next, the neck lies one deeper than the last."""
    blocks = sam.image_encoder.embedding_features()
    found, depth = {}, 0
    for name, _ in sam.image_encoder.named_parameters():
        inside = [i for i, block in enumerate(blocks) if name.startswith(f"{block}.")]
        if inside:
            depth = inside[0] + 1
        elif depth == 0:
            found[name] = 0
            continue
        found[name] = depth if inside else depth + 1
    return found


def layer_rates(sam: Sam, decay: float, prefix: str = "") -> Callable[[str], float]:
    """By what the learning rate of a parameter is multiplied: 1 in neck and decoder, less by `decay` from each block to
    the one before.

    Args:
        sam: the model.
        decay: 1 for none.
        prefix: of the parameters' names before the model's own.
    """
    depths = block_depths(sam)
    top = len(sam.image_encoder.embedding_features()) + 1

    def rate(name: str) -> float:
        own = name.removeprefix(prefix)
        if not own.startswith(_ENCODER):
            return 1.0
        return decay ** (top - depths[own.removeprefix(_ENCODER)])

    return rate
