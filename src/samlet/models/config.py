"""Configurations of the models. Widths are data: one entry a block, so a pruned model is an ordinary model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, Protocol, TypedDict, TypeVar

from samlet.errors import InputError
from samlet.io.schema import checked, shown
from samlet.models.checks import MOST_IMAGE_SIZE, check_choice
from samlet.models.decoders import DECODERS
from samlet.models.decoders.config import DecoderConfig as DecoderConfig
from samlet.models.encoders import ENCODERS, EncoderConfig

Resize = Literal["longest_side", "stretch", "stretch_antialiased"]
Score = Literal["iou", "stability"]


class _HasConfig(Protocol):
    config: SamConfig


Configured = TypeVar("Configured", bound=_HasConfig)


@dataclass(frozen=True, kw_only=True)
class SamConfig:
    """A whole Segment Anything Model.

    Attributes:
        encoder: the image encoder.
        decoder: prompt encoder and mask decoder.
        pixel_mean: subtracted from RGB in 0…255.
        pixel_std: divides after that.
        mask_threshold: a logit above it is mask.
        resize: how images come to the input: `longest_side` keeps their proportions, `stretch` and
            `stretch_antialiased` do not.
        score: how good a mask is taken to be: its predicted `iou`, or its `stability`, for models whose IoU head was
            never trained (EdgeSAM).
        trained_image_size: side of the encoder's input that the weights were last trained at, pixels; None where that
            is the encoder's own `image_size`, at which a model computes unless it is told otherwise.
    """

    encoder: EncoderConfig
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    mask_threshold: float = 0.0
    resize: Resize = "longest_side"
    score: Score = "iou"
    trained_image_size: int | None = None

    def __post_init__(self) -> None:
        check_choice("resize", self.resize, Resize)
        check_choice("score", self.score, Score)
        wanted = DECODERS[self.decoder.style].fine_channels(self.encoder.out_channels)
        if self.encoder.fine_channels != wanted:
            raise InputError(
                f"the encoder gives fine maps of {list(self.encoder.fine_channels)} channels and the decoder "
                f"{self.decoder.style} takes {list(wanted)}; expected the same"
            )
        if self.trained_image_size is not None:
            self.check_image_size(self.trained_image_size)
        for name, values in (("pixel_mean", self.pixel_mean), ("pixel_std", self.pixel_std)):
            if len(values) != 3 or not all(math.isfinite(value) for value in values):
                raise InputError(f"{name} is {values}; expected 3 finite numbers")
        if min(self.pixel_std) <= 0:
            raise InputError(f"pixel_std is {self.pixel_std}; expected 3 numbers above 0")
        if not math.isfinite(self.mask_threshold):
            raise InputError(f"mask_threshold is {self.mask_threshold}; expected a finite logit")
        if self.encoder.image_size > MOST_IMAGE_SIZE:
            raise InputError(f"image_size is {self.encoder.image_size}; expected at most {MOST_IMAGE_SIZE}")
        if (self.encoder.out_channels // 2) % self.decoder.num_heads:
            raise InputError(
                f"decoder.num_heads is {self.decoder.num_heads} for {self.encoder.out_channels // 2} channels, half of "
                "the encoder's out_channels; expected a divisor of them"
            )

    @property
    def can_share_decoder(self) -> bool:
        """Whether `FastMaskDecoder` is for such a model: it knows the decoder, and scores come before any mask."""
        return DECODERS[self.decoder.style].shares and self.score == "iou"

    def check_image_size(self, image_size: int | None) -> int:
        """A side of the encoder's square input, pixels; the model's own for None.

        Raises:
            InputError: the patch grid does not allow the size.
        """
        size, multiple = self.encoder.image_size if image_size is None else image_size, self.encoder.multiple
        if size < multiple or size % multiple or size > MOST_IMAGE_SIZE:
            raise InputError(
                f"image size {size} is not allowed; expected a multiple of {multiple} up to {MOST_IMAGE_SIZE}, such as "
                "512 or 1024"
            )
        return size

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form that `from_dict` reads back."""
        return {
            "encoder": {"kind": self.encoder.kind, **dataclasses.asdict(self.encoder)},
            "decoder": self.decoder.to_dict(),
            "pixel_mean": list(self.pixel_mean),
            "pixel_std": list(self.pixel_std),
            "mask_threshold": self.mask_threshold,
            "resize": self.resize,
            "score": self.score,
            **({} if self.trained_image_size is None else {"trained_image_size": self.trained_image_size}),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SamConfig:
        """Read `to_dict`'s form.

        Raises:
            InputError: a key is missing, unknown, or holds an impossible value.
        """
        said: _Document = checked(values, _Document)
        encoder = dict(said["encoder"])
        kind = encoder.pop("kind", None)
        if not isinstance(kind, str) or kind not in ENCODERS:
            raise InputError(f"encoder.kind is {shown(kind)}, which is unknown; expected one of {', '.join(ENCODERS)}")
        widths = ENCODERS[kind].config
        try:
            return cls(
                encoder=widths(**_tuples(checked(encoder, widths, "encoder"))),
                decoder=DecoderConfig(**checked(said["decoder"], DecoderConfig, "decoder")),
                pixel_mean=said["pixel_mean"],
                pixel_std=said["pixel_std"],
                mask_threshold=said["mask_threshold"],
                resize=said.get("resize", "longest_side"),  # type: ignore[arg-type]
                score=said.get("score", "iou"),  # type: ignore[arg-type]
                trained_image_size=said.get("trained_image_size"),
            )
        except InputError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"model config cannot be read: {error}; expected what samlet.save writes") from error


def trained_at(sam: Configured, image_size: int) -> Configured:
    """The same model, whose config says at which image size it was trained."""
    own = None if image_size == sam.config.encoder.image_size else image_size
    sam.config = dataclasses.replace(sam.config, trained_image_size=own)
    return sam


class _Document(TypedDict):
    """What `SamConfig.to_dict` gives, as JSON has it."""

    encoder: dict
    decoder: dict
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    mask_threshold: float
    resize: NotRequired[str]
    score: NotRequired[str]
    trained_image_size: NotRequired[int | None]


def _tuples(value: Any) -> Any:
    """JSON's lists as tuples, at every depth."""
    if isinstance(value, list | tuple):
        return tuple(_tuples(entry) for entry in value)
    if isinstance(value, dict):
        return {key: _tuples(entry) for key, entry in value.items()}
    return value
