"""How many masks the decoder of a file answers."""

from __future__ import annotations

from pathlib import Path

from samlet.checkpoints.reading import StateDict
from samlet.errors import CheckpointError
from samlet.io.remarks import remark
from samlet.models import DecoderConfig


def decoder_of(tensors: StateDict, path: Path) -> DecoderConfig:
    """SAM's decoder with as many mask outputs as a file has.

    Raises:
        CheckpointError: it has no output for an ambiguous prompt.
    """
    tokens = tensors.get("mask_decoder.mask_tokens.weight")
    outputs = 4 if tokens is None or not tokens.ndim else len(tokens)
    if outputs == 4:
        return DecoderConfig()
    if not 2 <= outputs <= 64:
        raise CheckpointError(
            f"{path} has a mask decoder of {outputs} mask outputs; expected 4: one single mask and three of an "
            "ambiguous prompt (2 to 64 are read)"
        )
    remark(f"{path}: the mask decoder has {outputs} mask outputs instead of 4, the first for unambiguous prompts")
    return DecoderConfig(num_multimask_outputs=outputs - 1)
