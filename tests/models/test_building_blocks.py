"""Attention: one answer, whichever way it is computed."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from samlet.models.building_blocks import attend


def gradients(keys: int, value_width: int, bias: bool, few: int, monkeypatch) -> tuple[list[torch.Tensor], int]:
    """Answer and gradients of attention in bfloat16, and how often the fused kernel was asked."""
    calls = []

    def counted(*given, **options):
        calls.append(1)
        return scaled_dot_product_attention(*given, **options)

    monkeypatch.setattr("samlet.models.building_blocks._FEW_KEYS", few)
    monkeypatch.setattr("torch.nn.functional.scaled_dot_product_attention", counted)
    draw = torch.Generator().manual_seed(0)
    shapes = [(3, 2, keys, 8), (3, 2, keys, 8), (3, 2, keys, value_width)] + [(2, keys, keys)] * bias
    leaves = [torch.randn(shape, generator=draw).requires_grad_() for shape in shapes]
    with torch.autocast("cpu", torch.bfloat16):
        q, k, v = (leaf.bfloat16() for leaf in leaves[:3])
        out = attend(q, k, v, 8**-0.5, *leaves[3:]).float()
    out.square().sum().backward()
    return [out.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)], len(calls)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("value_width", [4, 8, 12])
def test_few_keys_train_without_the_fused_kernel_to_the_same_gradients(value_width, bias, monkeypatch):
    fused, asked = gradients(20, value_width, bias, 0, monkeypatch)
    apart, none = gradients(20, value_width, bias, 512, monkeypatch)
    assert (asked, none) == (1, 0)
    assert len(fused) == len(apart) == 4 + bias
    for one, other in zip(fused, apart, strict=True):
        assert (one - other).norm() < 0.02 * one.norm()


def test_many_keys_and_single_precision_and_answers_alone_use_the_fused_kernel(monkeypatch):
    assert gradients(20, 8, False, 19, monkeypatch)[1] == 1
    monkeypatch.setattr("samlet.models.building_blocks._FEW_KEYS", 512)
    calls = []
    monkeypatch.setattr(
        "torch.nn.functional.scaled_dot_product_attention",
        lambda *given, **options: calls.append(1) or scaled_dot_product_attention(*given, **options),
    )
    x = torch.randn(1, 1, 5, 8)
    attend(x.requires_grad_(), x, x, 1.0)
    attend(x.detach().bfloat16(), x.detach().bfloat16(), x.detach().bfloat16(), 1.0)
    assert len(calls) == 2
