"""The models that samlet knows by name: all that the two papers compare, and SAM 2.

One module, though long: it is a table, one row a model.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path

from samlet.checkpoints import native
from samlet.checkpoints.sam2 import sam2_config
from samlet.errors import InputError
from samlet.models import DecoderConfig, EncoderConfig, RepViTConfig, SamConfig, TinyViTConfig, ViTConfig
from samlet.models.encoders.hiera.config import PUBLISHED as HIERAS


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a paper prints of a model.

    Attributes:
        parameters: of the whole model.
        macs: multiply-accumulates of the whole model with one prompt at 1024 px.
        convention: `modules` or `total`; see `samlet.evaluation.costs`.
        source: where it is printed.
    """

    parameters: float
    macs: float
    convention: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model of the zoo.

    Attributes:
        name: what a user types.
        config: makes the architecture; None where only the file says it, or where it is no `Sam`.
        encoder: the encoder in words.
        licence: SPDX identifier of the weights' licence, or its name.
        commercial: whether that licence allows commercial use.
        source: where the weights come from, for people.
        published: figures in print.
        repository: on the Hugging Face hub; empty if the weights are inside the package or must be brought.
        files: file names there; a model folder needs all of them.
        revision: commit of the repository; "" for the one that is there at the first download, which is then kept to.
        sha256: digests of files, by name, where they are known; of others the first download notes them.
        bring: how to get the weights, where samlet cannot fetch them.
    """

    name: str
    config: Callable[[], SamConfig] | None
    encoder: str
    licence: str
    source: str
    commercial: bool = True
    published: tuple[Published, ...] = ()
    repository: str = ""
    files: tuple[str, ...] = ()
    revision: str = ""
    sha256: tuple[tuple[str, str], ...] = ()
    bring: str = ""

    @property
    def embedded(self) -> bool:
        """Whether the weights are inside the package."""
        return not self.repository and not self.bring

    def sam_config(self) -> SamConfig | None:
        """Config of the whole model; None where only the file says it."""
        return None if self.config is None else self.config()


_VIT_B_GLOBAL = (2, 5, 8, 11)
_SLIMSAM, _TINYSAM = "SlimSAM, table 1", "TinySAM, table 1"
_FOLDER = ("config.json", "model.safetensors")
_GLOBAL_BRING = (
    "its authors publish it as a pickled module at github.com/czg1225/SlimSAM; download it there and pass the path of "
    "the file, which is read without running anything of it"
)
_FAST_BRING = (
    "its weights are under AGPL-3.0 and are never shipped with samlet; download {file} from "
    "github.com/CASIA-IVA-Lab/FastSAM, export it (yolo export model={file} format=onnx imgsz=1024) and pass the path "
    "of the .onnx file"
)


def _sam(encoder: Callable[[], EncoderConfig]) -> Callable[[], SamConfig]:
    return lambda: SamConfig(encoder=encoder())


def _vit(dim: int, depth: int, heads: int, global_blocks: tuple[int, ...]) -> Callable[[], SamConfig]:
    return _sam(lambda: ViTConfig.uniform(embed_dim=dim, depth=depth, num_heads=heads, global_blocks=global_blocks))


def _slim(dim: int, mlp_dim: int) -> Callable[[], SamConfig]:
    return _sam(
        lambda: ViTConfig.uniform(embed_dim=dim, depth=12, num_heads=12, mlp_dim=mlp_dim, global_blocks=_VIT_B_GLOBAL)
    )


def _packaged(name: str) -> Callable[[], SamConfig]:
    return lambda: native.read_config(Path(str(files("samlet") / "assets" / name)))


def _efficient(dim: int) -> Callable[[], SamConfig]:
    def config() -> SamConfig:
        encoder = ViTConfig(
            embed_dim=dim,
            num_heads=(dim // 64,) * 12,
            qk_dims=(64,) * 12,
            v_dims=(64,) * 12,
            mlp_dims=(4 * dim,) * 12,
            scale_dim=64,
            global_blocks=tuple(range(12)),
            position_side=14,
            relative_positions=False,
        )
        return SamConfig(encoder=encoder, decoder=DecoderConfig(style="efficient_sam"), resize="stretch")

    return config


ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            name="mobile_sam",
            config=_sam(TinyViTConfig),
            encoder="TinyViT-5M",
            licence="Apache-2.0",
            source="inside the package as int8 (see samlet/assets/mobile_sam/ORIGIN.md)",
            published=(
                Published(parameters=9.8e6, macs=40e9, convention="modules", source=_SLIMSAM),
                Published(parameters=9.8e6, macs=42.0e9, convention="total", source=_TINYSAM),
            ),
        ),
        Entry(
            name="samlet_s",
            config=_packaged("samlet_s"),
            encoder="TinyViT, slimmed",
            licence="Apache-2.0",
            source="inside the package as int8 (see samlet/assets/samlet_s/ORIGIN.md)",
        ),
        Entry(
            name="samlet_m",
            config=_packaged("samlet_m"),
            encoder="Hiera, slimmed",
            licence="Apache-2.0",
            source="inside the package as int8 (see samlet/assets/samlet_m/ORIGIN.md)",
        ),
        Entry(
            name="tinysam",
            config=_sam(TinyViTConfig),
            encoder="TinyViT-5M",
            licence="Apache-2.0",
            source="huggingface.co/xinghaochen/tinysam",
            published=(Published(parameters=10.1e6, macs=42.0e9, convention="total", source=_TINYSAM),),
            repository="xinghaochen/tinysam",
            files=("tinysam.pth",),
        ),
        Entry(
            name="q_tinysam",
            config=_sam(TinyViTConfig),
            encoder="TinyViT-5M, W8A8 simulated",
            licence="Apache-2.0",
            source="github.com/xinghaochen/TinySAM, release 2.0, tinysam_w8a8.pth",
            published=(Published(parameters=10.1e6, macs=42.0e9, convention="total", source=_TINYSAM),),
            bring="its authors publish it as a pickled module at github.com/xinghaochen/TinySAM (release 2.0, "
            "tinysam_w8a8.pth); download it there and pass the path of the file, which is read without running "
            "anything of it",
        ),
        Entry(
            name="sam_vit_b",
            config=_vit(768, 12, 12, _VIT_B_GLOBAL),
            encoder="ViT-B",
            licence="Apache-2.0",
            source="huggingface.co/facebook/sam-vit-base",
            published=(
                Published(parameters=93e6, macs=372e9, convention="modules", source=_SLIMSAM),
                Published(parameters=93e6, macs=487e9, convention="total", source=_TINYSAM),
            ),
            repository="facebook/sam-vit-base",
            files=_FOLDER,
        ),
        Entry(
            name="sam_vit_l",
            config=_vit(1024, 24, 16, (5, 11, 17, 23)),
            encoder="ViT-L",
            licence="Apache-2.0",
            source="huggingface.co/facebook/sam-vit-large",
            published=(
                Published(parameters=312e6, macs=1315e9, convention="modules", source=_SLIMSAM),
                Published(parameters=312e6, macs=1491e9, convention="total", source=_TINYSAM),
            ),
            repository="facebook/sam-vit-large",
            files=_FOLDER,
        ),
        Entry(
            name="sam_vit_h",
            config=_vit(1280, 32, 16, (7, 15, 23, 31)),
            encoder="ViT-H",
            licence="Apache-2.0",
            source="huggingface.co/facebook/sam-vit-huge",
            published=(
                Published(parameters=641e6, macs=2736e9, convention="modules", source=_SLIMSAM),
                Published(parameters=641e6, macs=2976e9, convention="total", source=_TINYSAM),
            ),
            repository="facebook/sam-vit-huge",
            files=_FOLDER,
        ),
        Entry(
            name="slimsam_50_uniform",
            config=_slim(384, 1536),
            encoder="ViT-B, 384/1536",
            licence="Apache-2.0",
            source="huggingface.co/Zigeng/SlimSAM-uniform-50",
            published=(Published(parameters=26e6, macs=98e9, convention="modules", source=_SLIMSAM),),
            repository="Zigeng/SlimSAM-uniform-50",
            files=_FOLDER,
        ),
        Entry(
            name="slimsam_77_uniform",
            config=_slim(168, 696),
            encoder="ViT-B, 168/696",
            licence="Apache-2.0",
            source="huggingface.co/Zigeng/SlimSAM-uniform-77",
            published=(
                Published(parameters=9.1e6, macs=23e9, convention="modules", source=_SLIMSAM),
                Published(parameters=9.1e6, macs=51.7e9, convention="total", source=_TINYSAM),
            ),
            repository="Zigeng/SlimSAM-uniform-77",
            files=_FOLDER,
        ),
        Entry(
            name="slimsam_50",
            config=None,
            encoder="ViT-B, 384 and a width for each block",
            licence="Apache-2.0",
            source="github.com/czg1225/SlimSAM, SlimSAM-50.pth",
            published=(Published(parameters=26e6, macs=98e9, convention="modules", source=_SLIMSAM),),
            bring=_GLOBAL_BRING,
        ),
        Entry(
            name="slimsam_77",
            config=None,
            encoder="ViT-B, 168 and a width for each block",
            licence="Apache-2.0",
            source="github.com/czg1225/SlimSAM, SlimSAM-77.pth",
            published=(Published(parameters=9.1e6, macs=23e9, convention="modules", source=_SLIMSAM),),
            bring=_GLOBAL_BRING,
        ),
        *(
            Entry(
                name=name,
                config=lambda: SamConfig(encoder=RepViTConfig(), score="stability"),
                encoder="RepViT-M1",
                licence="NTU S-Lab 1.0",
                commercial=False,
                source="huggingface.co/chongzhou/EdgeSAM",
                published=(Published(parameters=9.6e6, macs=23e9, convention="modules", source=_SLIMSAM),),
                repository="chongzhou/EdgeSAM",
                files=(f"{name}.pth",),
            )
            for name in ("edge_sam", "edge_sam_3x")
        ),
        Entry(
            name="efficient_sam_ti",
            config=_efficient(192),
            encoder="ViT-Ti",
            licence="Apache-2.0",
            source="huggingface.co/yunyangx/EfficientSAM",
            published=(
                Published(parameters=10e6, macs=28e9, convention="modules", source=_SLIMSAM),
                Published(parameters=10.2e6, macs=106e9, convention="total", source=_TINYSAM),
            ),
            repository="yunyangx/EfficientSAM",
            files=("efficient_sam_vitt.pt",),
        ),
        Entry(
            name="efficient_sam_s",
            config=_efficient(384),
            encoder="ViT-S",
            licence="Apache-2.0",
            source="huggingface.co/yunyangx/EfficientSAM",
            published=(Published(parameters=26e6, macs=94e9, convention="modules", source=_SLIMSAM),),
            repository="yunyangx/EfficientSAM",
            files=("efficient_sam_vits.pt",),
        ),
        *(
            Entry(
                name=f"{version}_hiera_{size}",
                config=partial(sam2_config, HIERAS[size], object_score=True),
                encoder=f"Hiera-{letter}",
                licence="Apache-2.0",
                source=f"huggingface.co/facebook/{version}-hiera-{size.replace('_', '-')}",
                repository=f"facebook/{version}-hiera-{size.replace('_', '-')}",
                files=(f"{version}_hiera_{size}.pt",),
            )
            for version in ("sam2", "sam2.1")
            for size, letter in (("tiny", "T"), ("small", "S"), ("base_plus", "B+"), ("large", "L"))
        ),
        Entry(
            name="fast_sam_s",
            config=None,
            encoder="YOLOv8s-seg",
            licence="AGPL-3.0",
            source="github.com/CASIA-IVA-Lab/FastSAM",
            published=(Published(parameters=11e6, macs=37e9, convention="modules", source=_SLIMSAM),),
            bring=_FAST_BRING.format(file="FastSAM-s.pt"),
        ),
        Entry(
            name="fast_sam_x",
            config=None,
            encoder="YOLOv8x-seg",
            licence="AGPL-3.0",
            source="github.com/CASIA-IVA-Lab/FastSAM",
            published=(
                Published(parameters=68e6, macs=330e9, convention="modules", source=_SLIMSAM),
                Published(parameters=68e6, macs=443e9, convention="total", source=_TINYSAM),
            ),
            bring=_FAST_BRING.format(file="FastSAM-x.pt"),
        ),
    )
}


def find(name: str) -> Entry:
    """The entry of that name.

    Raises:
        InputError: there is none; the message gives the nearest names.
    """
    if name in ENTRIES:
        return ENTRIES[name]
    nearest = difflib.get_close_matches(name, ENTRIES, n=3, cutoff=0.4)
    guess = (
        f"did you mean {' or '.join(nearest)}?"
        if nearest
        else "expected one of the zoo, such as mobile_sam, or a path."
    )
    raise InputError(
        f"{name!r} is no model of the zoo and no file or folder; {guess} `samlet models` lists the zoo"
        + ("; a repository of the hub is hf://ORG/NAME" if "/" in name else "")
    )
