"""Costs: the published figures are the test."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from samlet.evaluation.costs import cost, count_encoder_macs, peak_memory
from samlet.models import Sam, SamConfig, ViTConfig
from samlet.zoo import find
from tests.conftest import make_tiny

# G of MACs: SlimSAM's table (modules), TinySAM's table (total); M of parameters: SlimSAM's table.
PUBLISHED = {
    "mobile_sam": (None, 42.0, 9.8),  # modules: 40, two digits; samlet counts 39.1
    "sam_vit_b": (372, 487, 93),
    "sam_vit_l": (1315, 1491, 312),
    "sam_vit_h": (2736, 2976, 641),
}


def of(name):
    """A model without memory."""
    with torch.device("meta"):
        return Sam(find(name).sam_config())


@pytest.fixture(scope="module")
def decoder():
    """Cost of the decoder that all four have."""
    return cost(of("mobile_sam"), measure=False).decoder


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_figures_within_one_percent(name, decoder):
    modules, total, parameters = PUBLISHED[name]
    sam = of(name)
    encoder = count_encoder_macs(sam)
    if modules:
        assert encoder.macs_modules + decoder.macs_modules == pytest.approx(modules * 1e9, rel=0.01)
        assert encoder.macs_modules == pytest.approx(modules * 1e9, rel=0.01)
    assert encoder.macs_total + decoder.macs_total == pytest.approx(total * 1e9, rel=0.01)
    assert sum(p.numel() for p in sam.parameters()) == pytest.approx(parameters * 1e6, rel=0.01)


@pytest.mark.parametrize(
    ("name", "parameters", "modules", "total"),
    [
        ("edge_sam", 9.6, 23, None),
        ("efficient_sam_ti", 10.2, 28, 106),
        ("efficient_sam_s", 26.4, 94, None),
    ],
)
def test_published_figures_of_other_architectures(name, parameters, modules, total):
    found = cost(of(name), measure=False)
    assert found.parameters == pytest.approx(parameters * 1e6, rel=0.01)
    assert found.macs_modules == pytest.approx(modules * 1e9, rel=0.01)
    if total:
        assert found.macs_total == pytest.approx(total * 1e9, rel=0.01)


def test_published_figure_of_slimsam_50():
    """SlimSAM-50, uniform: 98 G by modules. SlimSAM-77 (23 G) is rounded too coarsely to test within 1 %."""
    config = ViTConfig.uniform(
        embed_dim=384, depth=12, num_heads=12, global_blocks=(2, 5, 8, 11), head_dim=32, mlp_dim=1536
    )
    found = cost(Sam(SamConfig(encoder=config)), measure=False)
    assert found.macs_modules == pytest.approx(98e9, rel=0.01)


def test_parts_sum_and_sizes_matter(small_sam):
    whole = cost(small_sam, measure=True)
    assert whole.parameters == whole.encoder.parameters + whole.decoder.parameters
    assert whole.macs_total == whole.encoder.macs_total + whole.decoder.macs_total
    assert whole.encoder.macs_total == whole.encoder.macs_computed > whole.encoder.macs_modules
    assert whole.decoder.macs_computed < whole.decoder.macs_total
    assert whole.encoder.latency_s > 0
    assert cost(small_sam, 64, measure=False).encoder.macs_modules < 0.5 * whole.encoder.macs_modules
    assert all(p.requires_grad for p in small_sam.parameters())


BALLAST = 256 * 2**20


def loaded_with(size):
    """A small model, for which so many bytes are needed while it is loaded."""
    ballast = torch.ones(size, dtype=torch.uint8)
    assert len(ballast) == size
    return make_tiny()


def test_peak_memory_is_that_of_a_fresh_process():
    """It counts what loading needed in passing, and nothing of what is in this process."""
    ballast = torch.ones(BALLAST, dtype=torch.uint8)
    light, heavy = (peak_memory(partial(loaded_with, size), 64, threads=1) for size in (1, BALLAST))
    assert heavy - light == pytest.approx(BALLAST, rel=0.1)
    status = Path("/proc/self/status")
    if status.is_file():
        here = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
        assert light < 1024 * int(here.split()[1]) - 0.5 * len(ballast)
