"""Configurations of the models. Widths are data: one entry a block, so a pruned model is an ordinary model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

from samlet.errors import InputError
from samlet.models.repvit_config import RepViTConfig

DecoderStyle = Literal["sam", "efficient_sam"]
Resize = Literal["longest_side", "stretch"]
Score = Literal["iou", "stability"]


_WIDEST = 1 << 16
_MOST_LAYERS = 64


def _check_positive(owner: str, **values: Any) -> None:
    for name, value in values.items():
        entries = value if isinstance(value, tuple) else (value,)
        for entry in entries:
            if isinstance(entry, tuple):
                _check_positive(owner, **{name: entry})
            elif not isinstance(entry, int) or isinstance(entry, bool) or not 1 <= entry <= _WIDEST:
                shown = repr(value) if len(repr(value)) < 200 else repr(entry)
                raise InputError(
                    f"{owner}.{name} is {shown}; every width must be a whole number from 1 to {_WIDEST}, no more than "
                    "any model has"
                )


def _check_choice(name: str, value: Any, kind: Any) -> None:
    if value not in get_args(kind):
        raise InputError(f"{name} is {value!r}; expected one of {', '.join(get_args(kind))}")


def _check_lengths(owner: str, expected: int, **values: tuple[Any, ...]) -> None:
    for name, value in values.items():
        if len(value) != expected:
            raise InputError(f"{owner}.{name} has {len(value)} entries; {expected} expected, one for each block")


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """SAM's ViTDet image encoder.

    Attributes:
        image_size: side of the square input that the position tables were made for, pixels.
        patch_size: side of a patch, pixels.
        embed_dim: width of the residual stream.
        num_heads: attention heads of each block.
        qk_dims: query and key channels of one head, of each block.
        v_dims: value channels of one head, of each block.
        mlp_dims: hidden width of the MLP of each block.
        scale_dim: head width of the original model. Attention is scaled by `scale_dim ** -0.5`, also after pruning.
        window_size: side of an attention window, tokens.
        global_blocks: indices of the blocks that attend to the whole image.
        out_channels: channels of the image embedding.
        position_side: side of the table of absolute positions, patches; that of the whole image if None. EfficientSAM
            keeps the table of its pretraining.
        relative_positions: whether attention has relative positions, as SAM's does.
    """

    kind: ClassVar[str] = "vit"
    stride: ClassVar[int] = 16

    image_size: int = 1024
    patch_size: int = 16
    embed_dim: int
    num_heads: tuple[int, ...]
    qk_dims: tuple[int, ...]
    v_dims: tuple[int, ...]
    mlp_dims: tuple[int, ...]
    scale_dim: int
    window_size: int = 14
    global_blocks: tuple[int, ...]
    out_channels: int = 256
    position_side: int | None = None
    relative_positions: bool = True

    def __post_init__(self) -> None:
        no_widths = {"global_blocks", "relative_positions"} | (
            {"position_side"} if self.position_side is None else set()
        )
        _check_positive(
            "ViTConfig",
            **{f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in no_widths},
        )
        _check_lengths("ViTConfig", self.depth, qk_dims=self.qk_dims, v_dims=self.v_dims, mlp_dims=self.mlp_dims)
        if any(not 0 <= block < self.depth for block in self.global_blocks):
            raise InputError(f"ViTConfig.global_blocks is {self.global_blocks}; expected indices below {self.depth}")
        if self.image_size % self.patch_size:
            raise InputError(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}")

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.num_heads)

    @classmethod
    def uniform(
        cls,
        *,
        embed_dim: int,
        depth: int,
        num_heads: int,
        global_blocks: tuple[int, ...],
        mlp_dim: int | None = None,
        head_dim: int | None = None,
        scale_dim: int | None = None,
        image_size: int = 1024,
    ) -> ViTConfig:
        """The same widths in every block, as SAM-B, L, H and the uniform SlimSAM models have them."""
        head_dim = head_dim or embed_dim // num_heads
        return cls(
            image_size=image_size,
            embed_dim=embed_dim,
            num_heads=(num_heads,) * depth,
            qk_dims=(head_dim,) * depth,
            v_dims=(head_dim,) * depth,
            mlp_dims=(mlp_dim or 4 * embed_dim,) * depth,
            scale_dim=scale_dim or head_dim,
            global_blocks=global_blocks,
        )


@dataclass(frozen=True, kw_only=True)
class TinyViTConfig:
    """The TinyViT image encoder of MobileSAM and TinySAM, batch norms folded into the convolutions.

    Stage 0 is convolutional (MBConv); stages 1 to 3 are windowed attention with a depthwise convolution between
    attention and MLP. Stages end in a merging of patches, which halves the resolution but in the last one.

    Attributes:
        image_size: side of the square input that the model was trained at, pixels.
        stem_dim: channels between the two convolutions of the stem.
        embed_dims: residual width of each of the four stages.
        mbconv_dims: hidden width of each MBConv of stage 0.
        merge_dims: hidden width of each of the three patch mergings.
        num_heads: heads of each block, per stage 1 to 3.
        qk_dims: query and key channels of one head of each block, per stage 1 to 3.
        v_dims: value channels of one head of each block, per stage 1 to 3.
        mlp_dims: hidden width of the MLP of each block, per stage 1 to 3.
        scale_dim: head width of the original model; attention is scaled by `scale_dim ** -0.5`.
        window_sizes: side of an attention window in stages 1 to 3, tokens.
        merge_strides: stride of each patch merging.
        out_channels: channels of the image embedding.
    """

    kind: ClassVar[str] = "tiny_vit"
    stride: ClassVar[int] = 16

    image_size: int = 1024
    stem_dim: int = 32
    embed_dims: tuple[int, ...] = (64, 128, 160, 320)
    mbconv_dims: tuple[int, ...] = (256, 256)
    merge_dims: tuple[int, ...] = (128, 160, 320)
    num_heads: tuple[tuple[int, ...], ...] = ((4,) * 2, (5,) * 6, (10,) * 2)
    qk_dims: tuple[tuple[int, ...], ...] = ((32,) * 2, (32,) * 6, (32,) * 2)
    v_dims: tuple[tuple[int, ...], ...] = ((32,) * 2, (32,) * 6, (32,) * 2)
    mlp_dims: tuple[tuple[int, ...], ...] = ((512,) * 2, (640,) * 6, (1280,) * 2)
    scale_dim: int = 32
    window_sizes: tuple[int, ...] = (7, 14, 7)
    merge_strides: tuple[int, ...] = (2, 2, 1)
    out_channels: int = 256

    def __post_init__(self) -> None:
        _check_positive("TinyViTConfig", **{f.name: getattr(self, f.name) for f in dataclasses.fields(self)})
        if len(self.embed_dims) != 4 or len(self.merge_dims) != 3 or len(self.num_heads) != 3:
            raise InputError(
                f"TinyViTConfig has {len(self.embed_dims)} embed_dims, {len(self.merge_dims)} merge_dims and "
                f"{len(self.num_heads)} attention stages; expected 4, 3 and 3"
            )
        for name in ("qk_dims", "v_dims", "mlp_dims"):
            value = getattr(self, name)
            if [len(stage) for stage in value] != [len(stage) for stage in self.num_heads]:
                raise InputError(f"TinyViTConfig.{name} is {value}; expected as many entries a stage as num_heads")
        if len(self.window_sizes) != 3 or len(self.merge_strides) != 3:
            raise InputError(
                f"TinyViTConfig has windows {self.window_sizes}, strides {self.merge_strides}; expected 3 each"
            )
        if self.image_size % self.stride:
            raise InputError(f"image_size {self.image_size} is not a multiple of the stride {self.stride}")


EncoderConfig = ViTConfig | TinyViTConfig | RepViTConfig
_ENCODER_CONFIGS: dict[str, type[EncoderConfig]] = {c.kind: c for c in (ViTConfig, TinyViTConfig, RepViTConfig)}


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """SAM's two-way mask decoder and its prompt encoder, or EfficientSAM's variation of both.

    Attributes:
        style: `sam`, the same in every SAM of the two papers, or `efficient_sam`.
        depth: two-way blocks.
        num_heads: heads of every attention.
        mlp_dim: hidden width of the MLP of a block.
        num_multimask_outputs: masks of an ambiguous prompt, beside the single mask.
        iou_head_depth: layers of the head that predicts IoU.
        iou_head_hidden_dim: hidden width of that head.
        mask_in_channels: channels of the last convolution but one over a mask prompt.
        norm_eps: epsilon of the layer norms of the blocks (segment-anything 1e-5, transformers 1e-6).
    """

    style: DecoderStyle = "sam"
    depth: int = 2
    num_heads: int = 8
    mlp_dim: int = 2048
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden_dim: int = 256
    mask_in_channels: int = 16
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        widths = dataclasses.asdict(self)
        widths.pop("norm_eps")
        _check_choice("DecoderConfig.style", widths.pop("style"), DecoderStyle)
        _check_positive("DecoderConfig", **widths)
        for name in ("depth", "iou_head_depth", "num_multimask_outputs"):
            if widths[name] > _MOST_LAYERS:
                raise InputError(f"DecoderConfig.{name} is {widths[name]}; expected at most {_MOST_LAYERS}")


@dataclass(frozen=True, kw_only=True)
class SamConfig:
    """A whole Segment Anything Model.

    Attributes:
        encoder: the image encoder.
        decoder: prompt encoder and mask decoder.
        pixel_mean: subtracted from RGB in 0…255.
        pixel_std: divides after that.
        mask_threshold: a logit above it is mask.
        resize: how images come to the input: `longest_side` keeps their proportions, `stretch` does not.
        score: how good a mask is taken to be: its predicted `iou`, or its `stability`, for models whose IoU head was
            never trained (EdgeSAM).
    """

    encoder: EncoderConfig
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    mask_threshold: float = 0.0
    resize: Resize = "longest_side"
    score: Score = "iou"

    def __post_init__(self) -> None:
        _check_choice("resize", self.resize, Resize)
        _check_choice("score", self.score, Score)
        if len(self.pixel_mean) != 3 or len(self.pixel_std) != 3:
            raise InputError(f"pixel_mean {self.pixel_mean} and pixel_std {self.pixel_std}; expected 3 numbers each")

    @property
    def can_share_decoder(self) -> bool:
        """Whether `SharedDecoder` is for such a model: SAM's decoder, and scores that come before any mask."""
        return self.decoder.style == "sam" and self.score == "iou"

    def check_image_size(self, image_size: int | None) -> int:
        """A side of the encoder's square input, pixels; the model's own for None.

        Raises:
            InputError: the patch grid does not allow the size.
        """
        size, stride = self.encoder.image_size if image_size is None else image_size, self.encoder.stride
        if size < stride or size % stride:
            raise InputError(f"image size {size} is not allowed; expected a multiple of {stride}, such as 512 or 1024")
        return size

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form that `from_dict` reads back."""
        return {
            "encoder": {"kind": self.encoder.kind, **dataclasses.asdict(self.encoder)},
            "decoder": dataclasses.asdict(self.decoder),
            "pixel_mean": list(self.pixel_mean),
            "pixel_std": list(self.pixel_std),
            "mask_threshold": self.mask_threshold,
            "resize": self.resize,
            "score": self.score,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SamConfig:
        """Read `to_dict`'s form.

        Raises:
            InputError: a key is missing, unknown, or holds an impossible value.
        """
        try:
            encoder = dict(values["encoder"])
            kind = encoder.pop("kind")
            if kind not in _ENCODER_CONFIGS:
                raise InputError(f"encoder kind {kind!r} is unknown; expected one of {', '.join(_ENCODER_CONFIGS)}")
            return cls(
                encoder=_ENCODER_CONFIGS[kind](**_tuples(encoder)),
                decoder=DecoderConfig(**values["decoder"]),
                pixel_mean=_tuples(values["pixel_mean"]),
                pixel_std=_tuples(values["pixel_std"]),
                mask_threshold=float(values["mask_threshold"]),
                resize=values.get("resize", "longest_side"),
                score=values.get("score", "iou"),
            )
        except InputError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"model config cannot be read: {error}; expected what samlet.save writes") from error


def _tuples(value: Any) -> Any:
    """JSON's lists as tuples, at every depth."""
    if isinstance(value, list | tuple):
        return tuple(_tuples(entry) for entry in value)
    if isinstance(value, dict):
        return {key: _tuples(entry) for key, entry in value.items()}
    return value
