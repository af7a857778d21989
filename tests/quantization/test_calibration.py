"""What calibration keeps, and the curvature against the exact one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from samlet.data.transforms import Frame
from samlet.models import Sam
from samlet.models.decoders.sam.mask_decoder import DecoderOutput
from samlet.quantization.calibration import Calibrator, fisher_probe, prompt_calls
from samlet.quantization.config import QuantConfig
from samlet.quantization.linear_algebra import input_rows, output_rows, positions, weight_matrix
from samlet.quantization.samples import Samples
from samlet.quantization.sites import find_sites
from tests.conftest import make_efficient, make_tiny, make_vit, with_another_first_output

FRAME = Frame(90, 120, 128)


class Toy(nn.Module):
    """A decoder of two layers, as far as the curvature is concerned."""

    has_single_mask = True
    config = make_tiny().config

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = torch.randn(5, 4, generator=generator)
        self.masks = torch.randn(2 * 3 * 4, 5, generator=generator)
        self.ious = torch.randn(2, 5, generator=generator)

    def inside(self, x):
        return x @ self.first.T

    def answer(self, hidden):
        hidden = hidden.tanh()
        low_res = (hidden @ self.masks.T).view(-1, 2, 3, 4)
        return DecoderOutput(low_res=low_res, iou=(hidden @ self.ious.T).sigmoid(), tokens=hidden)


def test_the_mean_of_many_draws_is_the_fisher_information():
    toy, frame = Toy(), Frame(3, 4, 4)
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))
    hidden = toy.inside(x)

    jacobian = torch.autograd.functional.jacobian(lambda h: toy.answer(h).low_res, hidden)  # by prompt, mask, ...
    of_iou = torch.autograd.functional.jacobian(lambda h: toy.answer(h).iou, hidden)
    exact = toy.answer(hidden)
    p, u = exact.low_res.sigmoid(), exact.iou
    masks = (p * (1 - p) / p[0].numel() / 2)[..., None, None] * jacobian.square()
    ious = (1 / (u * (1 - u)) / 2 / 2)[..., None, None] * of_iou.square()
    expected = masks.sum((0, 1, 2, 3)) + ious.sum((0, 1))

    generator, total, draws = torch.Generator().manual_seed(0), torch.zeros_like(hidden), 4000
    for _ in range(draws):
        leaf = hidden.clone().requires_grad_()
        fisher_probe(toy, toy.answer(leaf), frame, 2, generator).backward()
        total += leaf.grad.square()
    assert torch.allclose(total / draws, expected, rtol=0.12)


def test_the_fisher_information_is_the_second_derivative_of_the_divergence():
    toy, frame = Toy(), Frame(3, 4, 4)
    hidden = torch.randn(1, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    toy.masks, toy.ious = toy.masks.double(), toy.ious.double()
    exact = toy.answer(hidden)

    def divergence(h):
        out = toy.answer(h)
        p, u = exact.low_res.sigmoid(), exact.iou
        masks = F.binary_cross_entropy_with_logits(out.low_res, p) - F.binary_cross_entropy(p, p)
        return masks + F.binary_cross_entropy(out.iou, u) - F.binary_cross_entropy(u, u)

    gradient = torch.autograd.functional.jacobian(divergence, hidden)
    assert gradient.abs().max() < 1e-12  # why the loss itself has no gradient to square
    hessian = torch.autograd.functional.hessian(divergence, hidden)[0, :, 0].diagonal()
    generator, total = torch.Generator().manual_seed(0), torch.zeros_like(hidden)
    for _ in range(4000):
        leaf = hidden.clone().requires_grad_()
        fisher_probe(toy, toy.answer(leaf), frame, 1, generator).backward()
        total += leaf.grad.square()
    assert torch.allclose(total[0] / 4000, hessian, rtol=0.12)


def test_padding_of_the_photograph_does_not_count():
    toy = Toy()
    out = toy.answer(torch.zeros(1, 5))
    logits = out.low_res.clone().requires_grad_()
    changed = DecoderOutput(low_res=logits, iou=out.iou, tokens=out.tokens)
    fisher_probe(toy, changed, Frame(2, 4, 4), 1, torch.Generator()).backward()
    assert bool((logits.grad[:, :, :2] != 0).all())
    assert bool((logits.grad[:, :, 2:] == 0).all())


def recorded(sam: Sam, metric="hessian", number=0, samples=32):
    config = QuantConfig(prompts=6, metric=metric, samples=samples)
    sites = find_sites(sam, config)
    pixels = torch.randn(3, 128, 128, generator=torch.Generator().manual_seed(5 + number))
    return sites, Calibrator(sam, sites, config).record(pixels, FRAME, number)


def test_every_layer_is_sampled_and_the_model_left_alone(small_sam):
    before = small_sam.fingerprint()
    names = [name for name, _ in small_sam.named_modules()]
    sites, found = recorded(small_sam)
    assert small_sam.fingerprint() == before
    assert [name for name, _ in small_sam.named_modules()] == names
    assert all(parameter.requires_grad and parameter.grad is None for parameter in small_sam.parameters())
    for site in sites:
        assert f"{site.name}/amount" in found, site.name
        kept = [name for name in found if name.startswith(f"{site.name}/") and name.endswith("gradient")]
        assert kept, site.name
        for name in kept:
            assert bool(found[name].isfinite().all())
        assert any(bool((found[name] != 0).any()) for name in kept), site.name


def test_samples_are_what_the_layer_computes(small_sam, tmp_path):
    sites, found = recorded(small_sam)
    Samples.write(tmp_path / "0.safetensors", found)
    samples = Samples([tmp_path / "0.safetensors"])
    for site in sites:
        if not site.has_weight:
            continue
        sample = samples.matrix(site.name)
        matrix = weight_matrix(small_sam.get_submodule(site.name))
        assert sample.x.shape[0] == matrix.shape[0]
        assert sample.x.shape[2] == matrix.shape[2]
        assert sample.gradient.shape == (*sample.x.shape[:2], matrix.shape[1])
        (low, high), *_ = sample.seen.ranges
        assert low <= float(sample.x[sample.x != 0].min())
        assert high >= float(sample.x.max())
        assert sample.seen.share >= 1 or sample.seen.share == pytest.approx(1)


@torch.no_grad()
def test_no_output_that_was_not_trained_is_calibrated_on():
    sam, prompt = make_efficient(), {"points": torch.full((1, 1, 2), 30.0), "labels": torch.ones(1, 1).long()}
    models, frame = (sam, with_another_first_output(sam)), Frame(48, 64, 64, resize="stretch")
    embedding = torch.randn(1, 32, 4, 4, generator=torch.Generator().manual_seed(0))
    one, other = (prompt_calls(model, embedding, frame, 6) for model in models)
    assert [call.keys() for call in one] == [call.keys() for call in other]
    for a, b in zip(one, other, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)
    sums = [fisher_probe(m, m.decode(embedding, **prompt), frame, 1, torch.Generator().manual_seed(0)) for m in models]
    assert float(sums[0]) == float(sums[1]) != 0


def test_attention_in_chunks_is_sampled_as_a_whole(monkeypatch):
    whole = recorded(make_vit())[1]
    monkeypatch.setattr("samlet.models.encoders.vit.encoder._QUERY_CHUNK", 5)
    chunked = recorded(make_vit())[1]
    assert whole.keys() == chunked.keys()
    for name, value in whole.items():
        if "image_encoder" in name:
            assert torch.allclose(value, chunked[name], rtol=1e-3, atol=1e-5), name


def test_gradients_are_those_of_the_whole_model_at_the_positions_of_the_inputs(small_sam):
    """Against one plain backward pass through encoder and decoder, without checkpoints, at all positions."""
    config = QuantConfig(prompts=6, samples=10**6)
    sites = [site for site in find_sites(small_sam, config) if site.has_weight]
    pixels = torch.randn(3, 128, 128, generator=torch.Generator().manual_seed(5))
    found = Calibrator(small_sam, sites, config).record(pixels, FRAME, 0)
    sam = small_sam.requires_grad_(False)
    calls = prompt_calls(sam, sam.encode(pixels[None]), FRAME, 6)
    prompts = sum(len(next(iter(call.values()))) for call in calls)
    outputs = {site.name: [] for site in sites}

    def keep(name):
        def hook(_, args, out):
            out = out if out.requires_grad else out.requires_grad_()
            out.retain_grad()
            outputs[name].append((args[0].detach(), out))
            return out

        return hook

    for site in sites:
        sam.get_submodule(site.name).register_forward_hook(keep(site.name))
    embedding, generator = sam.encode(pixels[None].requires_grad_()), torch.Generator().manual_seed(0)
    sum(fisher_probe(sam, sam.decode(embedding, **call), FRAME, prompts, generator) for call in calls).backward()
    for site in sites:
        layer = sam.get_submodule(site.name)
        rows, inputs = [], []
        for x, out in outputs[site.name]:
            index = torch.arange(positions(layer, x, out))
            rows.append(output_rows(layer, out.grad, index))
            inputs.append(input_rows(layer, x, index, out.shape))
        assert torch.allclose(found[f"{site.name}/x"], torch.cat(inputs), atol=1e-2), site.name
        expected = torch.cat(rows)
        assert torch.allclose(
            found[f"{site.name}/gradient"], expected, rtol=0.02, atol=1e-3 * float(expected.abs().max())
        ), site.name
