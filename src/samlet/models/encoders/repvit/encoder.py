"""The RepViT image encoder of EdgeSAM, branches and batch norms folded.

Wang et al., "RepViT: Revisiting Mobile CNN From ViT Perspective", CVPR 2024; Zhou et al., "EdgeSAM", 2023. A block
mixes positions with a depthwise convolution, then channels with two 1×1 convolutions. In training most depthwise
convolutions have three branches (3×3, 1×1, identity); here one 3×3 convolution equals their sum.

Shape legend: B images, C channels, H, W height and width of the map; channels-last in memory throughout.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samlet.models.building_blocks import Neck
from samlet.models.chunking import gelu_, strip_size
from samlet.models.convolutions import Stem, depthwise
from samlet.models.encoders.encoder import ImageEncoder
from samlet.models.encoders.repvit.config import RepViTConfig
from samlet.models.groups import ChannelGroup, Member, Segment, columns, rows_and_bias, stream_groups
from samlet.models.modes import computes_whole


class SqueezeExcite(nn.Module):
    """Each channel of (B, C, H, W) times a gate in 0…1 that is computed from the means of all channels.

    With grad mode off the input is overwritten.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, hidden_dim, 1)
        self.fc2 = nn.Conv2d(hidden_dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))))
        return x * gate if computes_whole() else x.mul_(gate)


class ChannelMixer(nn.Module):
    """1×1 up, GELU, 1×1 down, added to the input: (B, C, H, W) to the same.

    With grad mode off the input is overwritten, strip by strip.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, hidden_dim, 1)
        self.fc2 = nn.Conv2d(hidden_dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        if computes_whole():
            return x + self.fc2(F.gelu(self.fc1(x)))
        batch, _, height, width = x.shape
        step = strip_size(height, batch * self.fc1.out_channels * width)
        for start in range(0, height, step):
            strip = x[:, :, start : start + step]
            strip.add_(self.fc2(gelu_(self.fc1(strip))))
        return x


class RepViTBlock(nn.Module):
    """Depthwise convolution, squeeze-and-excitation where there is one, channel mixer: (B, C, H, W) to the same."""

    def __init__(self, dim: int, hidden_dim: int, squeeze_dim: int) -> None:
        super().__init__()
        self.local_conv = depthwise(dim)
        self.squeeze = SqueezeExcite(dim, squeeze_dim) if squeeze_dim else None
        self.mixer = ChannelMixer(dim, hidden_dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.local_conv(x)
        return self.mixer(x if self.squeeze is None else self.squeeze(x))


class HalvingBlock(nn.Module):
    """Depthwise convolution of stride 2, 1×1, channel mixer: (B, C, H, W) to (B, out_dim, ⌈H / 2⌉, ⌈W / 2⌉)."""

    def __init__(self, dim: int, out_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.local_conv = depthwise(dim, 2)
        self.project = nn.Conv2d(dim, out_dim, 1)
        self.mixer = ChannelMixer(out_dim, hidden_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.mixer(self.project(self.local_conv(x)))


class RepViTEncoder(ImageEncoder):
    """(B, 3, H, W) normalised image to (B, out_channels, H / 16, W / 16) image embedding; H, W multiples of 16.

    Stages 2 and 3, at strides 16 and 32, are projected and added, stage 3 enlarged by bicubic interpolation. Where H
    and W are multiples of 32 that enlarges it twofold, as in the published model; elsewhere stage 3 is half the size of
    stage 2 rounded up, and is interpolated to the very size of stage 2.
    """

    def __init__(self, config: RepViTConfig) -> None:
        super().__init__()
        self.config = config
        dims = config.embed_dims
        self.patch_embed = Stem(config.stem_dim, dims[0])
        self.stages = nn.ModuleList()
        for stage, (mixers, squeezes) in enumerate(zip(config.mixer_dims, config.squeeze_dims, strict=True)):
            blocks: list[nn.Module] = [
                HalvingBlock(dims[stage - 1], dims[stage], hidden)
                if stage and not i
                else RepViTBlock(dims[stage], hidden, squeeze)
                for i, (hidden, squeeze) in enumerate(zip(mixers, squeezes, strict=True))
            ]
            self.stages.append(nn.Sequential(*blocks))
        self.fuse_stage2 = nn.Conv2d(dims[2], config.out_channels, 1, bias=False)
        self.fuse_stage3 = nn.Conv2d(dims[3], config.out_channels, 1, bias=False)
        self.neck = Neck(config.out_channels, config.out_channels)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor) -> Tensor:
        x = self.patch_embed(image)
        for stage in self.stages[:3]:
            x = stage(x)
        return self._embedding(x)

    def _embedding(self, x: Tensor) -> Tensor:
        fine, coarse = self.fuse_stage2(x), self.fuse_stage3(self.stages[3](x))
        coarse = F.interpolate(coarse, size=fine.shape[2:], mode="bicubic", align_corners=False)
        return self.neck(fine + coarse)

    def segments(self) -> list[Segment]:
        """The stem, every block up to stage 2; what follows branches and is one segment."""
        names = ["patch_embed", *(block for stage, _, block in self._block_names() if stage < 3)]
        last = Segment(("fuse_stage2", "stages.3", "fuse_stage3", "neck"), self._embedding)
        return [*(Segment((name,), self.get_submodule(name)) for name in names), last]

    def _block_names(self) -> list[tuple[int, int, str]]:
        return [
            (stage, i, f"stages.{stage}.{i}") for stage, depth in enumerate(self.config.depths) for i in range(depth)
        ]

    def bottleneck_features(self) -> list[str]:
        """Modules whose outputs are SlimSAM's H, the inside of every block: the hidden layer of the channel mixer."""
        return [f"{block}.mixer.fc1" for _, _, block in self._block_names()]

    def embedding_features(self) -> list[str]:
        """Modules whose outputs are SlimSAM's E: the output of every block."""
        return [block for _, _, block in self._block_names()]

    def channel_groups(self) -> list[ChannelGroup]:
        """One embedding group a stage; stem, channel mixer and squeeze-and-excitation groups inside."""
        config = self.config
        streams = [rows_and_bias("patch_embed.conv2"), [], columns("fuse_stage2"), columns("fuse_stage3")]
        stem = [*rows_and_bias("patch_embed.conv1"), *columns("patch_embed.conv2")]
        bottlenecks = [_bottleneck("patch_embed.stem", "stem", config.stem_dim, stem, ("stem_dim",), 0)]
        for stage, i, block in self._block_names():
            stream, squeeze_dim = streams[stage], config.squeeze_dims[stage][i]
            if stage and not i:
                streams[stage - 1] += rows_and_bias(f"{block}.local_conv") + columns(f"{block}.project")
                stream += rows_and_bias(f"{block}.project")
            else:
                stream += rows_and_bias(f"{block}.local_conv")
            if squeeze_dim:
                stream += _outside(f"{block}.squeeze")
                path = ("squeeze_dims", stage, i)
                inside = _inside(f"{block}.squeeze")
                bottlenecks.append(_bottleneck(f"{block}.squeeze", "squeeze", squeeze_dim, inside, path, stage))
            stream += _outside(f"{block}.mixer")
            path, inside = ("mixer_dims", stage, i), _inside(f"{block}.mixer")
            bottlenecks.append(
                _bottleneck(f"{block}.mixer", "convolution", config.mixer_dims[stage][i], inside, path, stage)
            )
        return stream_groups(streams, config.embed_dims) + bottlenecks


def _outside(layer: str) -> list[Member]:
    return columns(f"{layer}.fc1") + rows_and_bias(f"{layer}.fc2")


def _inside(layer: str) -> list[Member]:
    return rows_and_bias(f"{layer}.fc1") + columns(f"{layer}.fc2")


def _bottleneck(
    name: str, family: str, size: int, members: list[Member], config_path: tuple[str | int, ...], stage: int
) -> ChannelGroup:
    return ChannelGroup(
        name=name,
        kind="bottleneck",
        family=family,
        size=size,
        divisor=8,
        members=tuple(members),
        config_path=config_path,
        stage=stage,
    )
