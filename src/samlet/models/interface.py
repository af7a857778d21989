"""What every model that answers prompts offers, whatever computes it: a `Sam`, or the graphs of another runtime."""

from __future__ import annotations

from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from samlet.errors import InputError
from samlet.models.config import Resize, SamConfig
from samlet.models.decoders.sam.mask_decoder import DecoderOutput
from samlet.models.embedding import Embedding
from samlet.models.sam import Sam


@runtime_checkable
class PromptableModel(Protocol):
    """A model that encodes images and answers prompts on them.

    `Sam` is one, and so is an exported model. Inference and evaluation ask nothing more of a model.
    """

    @property
    def config(self) -> SamConfig:
        """Architecture and widths of the model, or of the one it was made from."""
        ...

    @property
    def preprocessing(self) -> tuple[Tensor, Tensor, Resize]:
        """As `Sam.preprocessing`."""
        ...

    @property
    def has_single_mask(self) -> bool:
        """As `Sam.has_single_mask`."""
        ...

    @property
    def image_size(self) -> int:
        """Side of the square input that it takes unless told otherwise, pixels."""
        ...

    @property
    def device(self) -> torch.device:
        """Where its inputs and outputs are."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of its inputs and outputs."""
        ...

    def fingerprint(self) -> str:
        """What tells the model from others: a digest of its weights or files."""
        ...

    def check_image_size(self, image_size: int | None) -> int:
        """As `Sam.check_image_size`."""
        ...

    def encode(self, images: Tensor) -> Embedding:
        """As `Sam.encode`."""
        ...

    def decode(
        self,
        embedding: Embedding,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> DecoderOutput:
        """As `Sam.decode`; the tokens may be empty."""
        ...

    def decoder_weights(self) -> Sam | None:
        """As `Sam.decoder_weights`."""
        ...

    def eval(self) -> Self:
        """The model itself, in the mode for inference."""
        ...

    def to(self, device: torch.device) -> Self:
        """The model itself, on a device."""
        ...


def trainable(model: PromptableModel, role: str = "the model") -> Sam:
    """A model as the `Sam` that training, cutting and quantizing work on.

    Args:
        model: any model.
        role: what to call it in the message.

    Raises:
        InputError: an exported model, which has graphs and no weights.
    """
    if isinstance(model, Sam):
        return model
    raise InputError(f"{role} is exported: an exported model cannot be trained; give the model it was made from")
