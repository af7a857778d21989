"""Models from files are those of the plain way: weights are drawn, and then those of the file copied over them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import samlet
from samlet.checkpoints import load_checkpoint
from samlet.models import Sam, SamConfig
from samlet.models.quantized import InputQuantizer, QuantizedLinear
from tests.checkpoints.efficient_reference import PublishedEfficientSam
from tests.checkpoints.test_formats import plain_tiny, plain_vit
from tests.conftest import make_tiny, make_vit, randomise
from tests.runtimes.exporting import make_sam as make_repvit


def make_efficient(folder) -> Sam:
    published = PublishedEfficientSam(dim=64, heads=1, depth=1)
    randomise(published)
    torch.save({"model": published.state_dict()}, folder / "published.pt")
    return load_checkpoint(folder / "published.pt")


def make_quantized() -> Sam:
    """Linear layers of both halves of a model in integers."""
    sam = make_tiny()
    for half in (sam.image_encoder.layers[1].blocks[0].mlp, sam.mask_decoder.transformer.layers[0].mlp):
        for name, layer in list(half.named_children()):
            if isinstance(layer, nn.Linear):
                steps = layer.weight.detach().abs().amax(1) / 127
                layer.weight.data = (layer.weight / steps[:, None]).round().detach() * steps[:, None]
                setattr(half, name, QuantizedLinear(layer, InputQuantizer(torch.tensor([0.05]), 8), steps, 8))
    return sam


FAMILIES = {
    "vit": lambda _: make_vit(),
    "tiny_vit": lambda _: make_tiny(),
    "repvit": lambda _: make_repvit().requires_grad_(True),
    "efficient_sam": make_efficient,
    "quantized": lambda _: make_quantized(),
}


def plainly(config: SamConfig, state: dict[str, Tensor], like: Sam) -> Sam:
    """A model that drew weights before it took over those of a state dict; `like` has its quantized layers."""
    sam = Sam(config)
    for name, layer in like.named_modules():
        if isinstance(layer, QuantizedLinear):
            parent, _, last = name.rpartition(".")
            inputs = InputQuantizer(torch.ones(1), layer.inputs.bits)
            own = QuantizedLinear(sam.get_submodule(name), inputs, torch.ones(layer.out_features), layer.weight_bits)
            setattr(sam.get_submodule(parent), last, own)
    sam.load_state_dict(state)
    return sam.eval()


def described(tensor: Tensor) -> tuple:
    return (
        tensor.dtype,
        tensor.device,
        tensor.shape,
        tensor.stride(),
        tensor.requires_grad,
        tensor.is_leaf,
        type(tensor),
    )


def answers(sam: Sam) -> list[Tensor]:
    embedding = sam.encode(torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0)))
    prompt = torch.tensor([[[20.0, 30.0]]]), torch.ones(1, 1, dtype=torch.long)
    out = sam.decode(embedding, *prompt)
    return [embedding, out.low_res, out.iou, out.tokens]


def assert_alike(loaded: Sam, plain: Sam) -> None:
    for found, expected in (
        (dict(loaded.named_parameters()), dict(plain.named_parameters())),
        (dict(loaded.named_buffers()), dict(plain.named_buffers())),  # those that no state dict holds too
    ):
        assert list(found) == list(expected)
        for name, value in expected.items():
            assert described(found[name]) == described(value), name
            assert torch.equal(found[name], value), name
            assert found[name].data_ptr() % 64 == 0, f"{name} lies where torch would not put it"
    assert list(loaded.state_dict()) == list(plain.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(answers(loaded), answers(plain), strict=True))
    assert not loaded.training


@pytest.mark.parametrize("family", FAMILIES)
def test_a_native_folder_gives_what_the_plain_way_gives(family, tmp_path):
    sam = FAMILIES[family](tmp_path)
    samlet.save(sam, tmp_path / "m")
    assert_alike(load_checkpoint(tmp_path / "m"), plainly(sam.config, sam.state_dict(), sam))


@pytest.mark.parametrize(
    ("make", "name", "form"),
    [
        (plain_vit, "m.pth", "segment-anything"),
        (plain_vit, "m.safetensors", "segment-anything"),
        (plain_vit, "folder", "hugging-face"),
        (plain_tiny, "m.pt", "mobile-sam"),
    ],
)
def test_published_formats_give_what_the_plain_way_gives(make, name, form, tmp_path):
    samlet.save(make(), tmp_path / name, format=form)
    loaded = load_checkpoint(tmp_path / name)
    assert_alike(loaded, plainly(loaded.config, loaded.state_dict(), loaded))


def test_half_precision_becomes_single(tmp_path):
    sam = plain_vit()
    torch.save({name: value.half() for name, value in sam.state_dict().items()}, tmp_path / "m.pth")
    loaded = load_checkpoint(tmp_path / "m.pth")
    assert_alike(loaded, plainly(sam.config, {n: v.half() for n, v in sam.state_dict().items()}, sam))
    assert loaded.dtype == torch.float32


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_drawn(family, tmp_path):
    samlet.save(FAMILIES[family](tmp_path), tmp_path / "m")
    torch.manual_seed(3)
    before = torch.get_rng_state()
    load_checkpoint(tmp_path / "m")
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_that_share_memory_in_the_file_are_apart_in_the_model(tmp_path):
    """Rows of one matrix, and one tensor under two names."""
    state = dict(plain_vit().state_dict())
    norms = [f"image_encoder.blocks.{name}.weight" for name in ("0.norm1", "0.norm2", "1.norm1")]
    both = torch.randn(2, len(state[norms[0]]))
    state[norms[0]], state[norms[1]] = both
    state[norms[2]] = both[0]
    torch.save(state, tmp_path / "m.pth")
    loaded = dict(load_checkpoint(tmp_path / "m.pth").named_parameters())
    with torch.no_grad():
        loaded[norms[0]].fill_(7)
    assert torch.equal(loaded[norms[1]], both[1])
    assert torch.equal(loaded[norms[2]], both[0])
    starts = [value.untyped_storage().data_ptr() for value in loaded.values()]
    assert len(set(starts)) == len(starts)
    assert all(value.untyped_storage().nbytes() == 4 * value.numel() for value in loaded.values())


def test_a_loaded_model_can_be_trained(tmp_path):
    samlet.save(make_tiny(), tmp_path / "m")
    sam = load_checkpoint(tmp_path / "m").train()
    sam.encode(torch.randn(1, 3, 64, 64)).square().mean().backward()
    assert all(value.grad.abs().sum() > 0 for value in sam.image_encoder.parameters())
