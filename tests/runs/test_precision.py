"""bfloat16 where the processor has it, and never emulated in silence."""

from __future__ import annotations

import pytest
import torch

import samlet
from samlet.cli import main
from samlet.runs.distributed import DistributedContext
from samlet.slimming.config import SlimConfig
from samlet.slimming.pipeline import run_slimming
from tests.conftest import make_tiny

QUICK = {"steps": 2, "image_size": 64, "scoring_images": 2, "recovery_images": 0, "batch_size": 2}


@pytest.fixture(autouse=True)
def auto_is_single_precision():
    """Not here."""


@pytest.mark.parametrize(("has", "meant"), [(True, "bf16"), (False, "fp32")])
def test_auto_is_what_the_processor_has(monkeypatch, photo_folder, has, meant):
    capabilities = {"avx512_bf16": has, "amx_bf16": False, "bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert DistributedContext("cpu", "auto").precision == meant
    assert DistributedContext("cpu", "fp32").precision == "fp32"
    made = run_slimming(make_tiny(), photo_folder, SlimConfig(**QUICK))
    assert made.config.precision == meant  # what the recipe says


def test_bf16_is_not_emulated(monkeypatch, photo_folder, tmp_path, capsys):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    with pytest.raises(samlet.InputError, match="it would be emulated"):
        DistributedContext("cpu", "bf16")
    command = ["slim", "--teacher", "mobile_sam", "--images", str(photo_folder), "--precision", "bf16", "--steps", "2"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    assert "use fp32, or auto" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
