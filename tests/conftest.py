"""Fixtures: the small models that most tests use, and what lies outside the repository, if it does."""

from __future__ import annotations

import copy
import dataclasses
import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:  # two workers of two threads on two cores take turns, not time
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from PIL import Image

from samlet.io.remarks import forget
from samlet.models import (
    DecoderConfig,
    Embedding,
    RepViTConfig,
    Sam,
    SamConfig,
    TinyViTConfig,
    ViTConfig,
    maps_of,
)
from samlet.models.encoders.hiera.config import HieraConfig
from samlet.models.processors import multiplies_bf16
from samlet.runs import distributed
from samlet.runs.checkpoints import CheckpointFolder
from samlet.runs.precision import chosen_precision

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT / "examples" / "photos"
_SHARED = Path(os.environ.get("SAMLET_SHARED", ROOT.parent / "shared"))


@pytest.fixture(autouse=True)
def _remarks_anew() -> None:
    """What one test was told is told to the next one, too."""
    forget()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of weights, vectors and data that belongs to the project but is not shipped."""
    if not _SHARED.is_dir():
        pytest.skip(f"{_SHARED.name}/ with oracle vectors and data is not beside the repository")
    return _SHARED


OFF_BY_DEFAULT = ("slow", "distributed", "long", "benchmark")
"""Markers of what `make test` leaves to `make test-slow`, and both leave to `make test-thorough`."""

_off: Counter[str] = Counter()


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    for item in items:
        _off.update(name for name in OFF_BY_DEFAULT if item.get_closest_marker(name))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["off"] = dict(_off)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _off.update(Counter(getattr(node, "workeroutput", {}).get("off", {})) - _off)  # every worker leaves out the same


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _off:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(_off.items()))
        terminalreporter.write_line(
            f"off by default: {counts} (a test may be several); `make test-slow` and `make test-thorough` run them"
        )


def peak_growth(run: Callable[[], object]) -> int:
    """Bytes by which resident memory rises above its level at the start while `run` runs; 0 where Linux does not say.

    The peak is reset first, so that what ran before in this process hides nothing.
    """

    def memory(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])

    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = memory("VmRSS")
    except (OSError, StopIteration):
        run()
        return 0
    run()
    return memory("VmHWM") - before


def kill_after_checkpoint(where: int | str | None) -> None:
    """Make this process kill itself, so that nothing is cleaned up, once a checkpoint is written.

    Args:
        where: its step, or `STAGE/STEP`; None for never.
    """
    if where is None:
        return
    stage, _, step = str(where).rpartition("/")
    save = CheckpointFolder.save

    def save_and_die(self: CheckpointFolder, number: int, *others: Any) -> None:
        save(self, number, *others)
        if number == int(step) and self.folder.name.startswith(stage):
            os.kill(os.getpid(), signal.SIGKILL)

    CheckpointFolder.save = save_and_die


SMALL_DECODER = DecoderConfig(depth=2, num_heads=4, mlp_dim=64, iou_head_hidden_dim=32, mask_in_channels=8)
CHANNELS = 32
"""Of the image embedding of small models."""


def randomise(module: torch.nn.Module, seed: int = 0) -> None:
    """Random weights everywhere, position tables and biases too, of a size that lets every term show."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1 and name.endswith("weight"):
                parameter.copy_(1 + 0.1 * noise)
            elif parameter.ndim == 1 or "pos" in name or "bias" in name or "token" in name or "embed." in name:
                parameter.copy_(0.2 * noise)
            else:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)


def make_vit(seed: int = 0) -> Sam:
    """A small ViT SAM: 3 blocks, windows that need padding, one global block, irregular widths."""
    config = ViTConfig(
        image_size=128,
        embed_dim=48,
        num_heads=(3, 2, 3),
        qk_dims=(16, 10, 12),
        v_dims=(16, 14, 8),
        mlp_dims=(96, 72, 120),
        scale_dim=16,
        window_size=3,
        global_blocks=(1,),
        out_channels=CHANNELS,
    )
    torch.manual_seed(seed)
    sam = Sam(SamConfig(encoder=config, decoder=SMALL_DECODER))
    randomise(sam, seed)
    return sam.eval()


def make_tiny(seed: int = 0) -> Sam:
    """A small TinyViT SAM with irregular widths."""
    config = TinyViTConfig(
        image_size=128,
        stem_dim=16,
        embed_dims=(16, 24, 32, 40),
        mbconv_dims=(32, 24),
        merge_dims=(24, 32, 48),
        num_heads=((2,), (2, 3), (2,)),
        qk_dims=((8,), (8, 12), (8,)),
        v_dims=((8,), (12, 8), (16,)),
        mlp_dims=((48,), (64, 40), (80,)),
        scale_dim=8,
        out_channels=CHANNELS,
    )
    torch.manual_seed(seed)
    sam = Sam(SamConfig(encoder=config, decoder=SMALL_DECODER))
    randomise(sam, seed)
    return sam.eval()


def make_repvit(seed: int = 0) -> Sam:
    """A small RepViT SAM with irregular widths."""
    config = RepViTConfig(
        image_size=128,
        stem_dim=16,
        embed_dims=(16, 24, 32, 40),
        mixer_dims=((32, 24), (48, 40), (64, 48, 56), (80, 72)),
        squeeze_dims=((16, 0), (0, 24), (0, 0, 16), (0, 32)),
        out_channels=CHANNELS,
    )
    torch.manual_seed(seed)
    sam = Sam(SamConfig(encoder=config, decoder=SMALL_DECODER))
    randomise(sam, seed)
    return sam.eval()


def make_hiera(seed: int = 0) -> Sam:
    """A small SAM 2 with irregular widths, windows that need padding and a global block."""
    config = HieraConfig(
        image_size=128,
        embed_dims=(16, 24, 32, 40),
        num_heads=((1,), (2, 1), (2, 3, 2), (2,)),
        qk_dims=((16,), (16, 24), (24, 16, 16), (16,)),
        v_dims=((24,), (16, 16), (16, 24, 16), (16,)),
        mlp_dims=((48,), (64, 40), (80, 64, 48), (72,)),
        scale_dim=16,
        window_sizes=(4, 2, 6, 7),
        global_blocks=(4,),
        position_side=3,
        lateral_dims=(24, 16),
        fine_dims=(CHANNELS // 4, CHANNELS // 8),
        out_channels=CHANNELS,
    )
    torch.manual_seed(seed)
    decoder = dataclasses.replace(SMALL_DECODER, style="sam2", object_score=True)
    sam = Sam(SamConfig(encoder=config, decoder=decoder, resize="stretch_antialiased"))
    randomise(sam, seed)
    return sam.eval()


def flat(embedding: Embedding) -> torch.Tensor:
    """All values of an embedding, whether it is one map or several."""
    return torch.cat([m.flatten() for m in maps_of(embedding)])


def make_efficient(seed: int = 0) -> Sam:
    """A small ViT SAM with EfficientSAM's decoder, whose output 0 counts for nothing."""
    config = ViTConfig.uniform(embed_dim=32, depth=1, num_heads=2, global_blocks=(0,), image_size=64)
    config = dataclasses.replace(config, out_channels=CHANNELS)
    decoder = dataclasses.replace(SMALL_DECODER, style="efficient_sam")
    sam = Sam(SamConfig(encoder=config, decoder=decoder, resize="stretch"))
    randomise(sam, seed)
    return sam.eval()


def with_another_first_output(sam: Sam) -> Sam:
    """The same model but for the weights that only mask 0 and its predicted IoU come from."""
    other = copy.deepcopy(sam)
    randomise(other.mask_decoder.output_hypernetworks_mlps[0], seed=99)
    head = other.mask_decoder.iou_prediction_head.layers[-1]
    with torch.no_grad():
        head.weight[0] += 1.0
        head.bias[0] += 9.0
    return other


@pytest.fixture(params=["vit", "tiny_vit"])
def small_sam(request: pytest.FixtureRequest) -> Sam:
    """Each family once."""
    return make_vit() if request.param == "vit" else make_tiny()


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """Six small noisy pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        coarse = rng.integers(0, 255, (6, 8, 3), np.uint8)
        Image.fromarray(coarse).resize((96, 72), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


needs_bf16 = pytest.mark.skipif(
    not multiplies_bf16(torch.device("cpu")), reason="this processor has no instructions for bfloat16"
)


@pytest.fixture(autouse=True)
def auto_is_single_precision(monkeypatch):
    """Tests compare with single precision whatever the processor has; `tests/runs/test_precision.py` has this one."""
    monkeypatch.setattr(
        distributed,
        "chosen_precision",
        lambda name, device: "fp32" if name == "auto" else chosen_precision(name, device),
    )
