"""The models that samlet knows by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from samlet.errors import InputError
from samlet.models import EncoderConfig, SamConfig, TinyViTConfig, ViTConfig


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model of the zoo.

    Attributes:
        name: what a user types.
        config: makes the architecture.
        encoder: the encoder in words.
        licence: SPDX identifier of the weights' licence.
        source: where the weights come from, for people.
        repository: on the Hugging Face hub; empty if the weights are inside the package.
        files: file names there; a model folder needs all of them.
    """

    name: str
    config: Callable[[], EncoderConfig]
    encoder: str
    licence: str
    source: str
    repository: str = ""
    files: tuple[str, ...] = ()

    @property
    def embedded(self) -> bool:
        """Whether the weights are inside the package."""
        return not self.repository

    def sam_config(self) -> SamConfig:
        """Config of the whole model."""
        return SamConfig(encoder=self.config())


def _vit(dim: int, depth: int, heads: int, global_blocks: tuple[int, ...]) -> Callable[[], EncoderConfig]:
    return lambda: ViTConfig.uniform(embed_dim=dim, depth=depth, num_heads=heads, global_blocks=global_blocks)


_FOLDER = ("config.json", "model.safetensors")

ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            name="mobile_sam",
            config=TinyViTConfig,
            encoder="TinyViT-5M",
            licence="Apache-2.0",
            source="inside the package as int8 (see samlet/assets/mobile_sam/ORIGIN.md)",
        ),
        Entry(
            name="tinysam",
            config=TinyViTConfig,
            encoder="TinyViT-5M",
            licence="Apache-2.0",
            source="huggingface.co/xinghaochen/tinysam",
            repository="xinghaochen/tinysam",
            files=("tinysam.pth",),
        ),
        Entry(
            name="sam_vit_b",
            config=_vit(768, 12, 12, (2, 5, 8, 11)),
            encoder="ViT-B",
            licence="Apache-2.0",
            source="huggingface.co/facebook/sam-vit-base",
            repository="facebook/sam-vit-base",
            files=_FOLDER,
        ),
        Entry(
            name="sam_vit_l",
            config=_vit(1024, 24, 16, (5, 11, 17, 23)),
            encoder="ViT-L",
            licence="Apache-2.0",
            source="huggingface.co/facebook/sam-vit-large",
            repository="facebook/sam-vit-large",
            files=_FOLDER,
        ),
        Entry(
            name="sam_vit_h",
            config=_vit(1280, 32, 16, (7, 15, 23, 31)),
            encoder="ViT-H",
            licence="Apache-2.0",
            source="huggingface.co/facebook/sam-vit-huge",
            repository="facebook/sam-vit-huge",
            files=_FOLDER,
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
    nearest = difflib.get_close_matches(name, ENTRIES, n=3, cutoff=0.4) or list(ENTRIES)
    raise InputError(
        f"{name!r} is no model of the zoo and no file or folder; did you mean {' or '.join(nearest)}? "
        "`samlet models` lists the zoo"
    )
