"""RepViT against the straightforward tree that EdgeSAM publishes, with its branches and batch norms; its groups."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import samlet
from samlet.checkpoints import edge_sam
from samlet.evaluation.costs import count_macs, count_parameters
from samlet.models import Sam, SamConfig
from samlet.models.encoders.repvit.config import RepViTConfig
from samlet.models.encoders.repvit.encoder import RepViTEncoder
from samlet.slimming.losses import run_observed
from samlet.slimming.surgery import cut_encoder
from tests.conftest import randomise
from tests.models.test_groups import some_of, zero

PUBLISHED = json.loads(Path(__file__).with_name("edge_sam_keys.json").read_text())
PATH = Path("edge_sam.pth")
SMALL = RepViTConfig(
    image_size=128,
    stem_dim=16,
    embed_dims=(16, 24, 32, 40),
    mixer_dims=((32, 24), (48, 40), (64, 48, 56), (80, 72)),
    squeeze_dims=((16, 0), (0, 24), (0, 0, 16), (0, 32)),
    out_channels=32,
)
IMAGE = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(3))


class ConvNorm(nn.Module):
    def __init__(self, in_dim, out_dim, kernel, stride=1, groups=1):
        super().__init__()
        self.c = nn.Conv2d(in_dim, out_dim, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out_dim)

    def forward(self, x):
        return self.bn(self.c(x))


class Branches(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv, self.conv1 = ConvNorm(dim, dim, 3, groups=dim), ConvNorm(dim, dim, 1, groups=dim)

    def forward(self, x):
        return x + self.conv(x) + self.conv1(x)


class Gate(nn.Module):
    def __init__(self, dim):
        super().__init__()
        hidden = max(8, int(dim / 4 + 4) // 8 * 8)
        self.fc1, self.fc2 = nn.Conv2d(dim, hidden, 1), nn.Conv2d(hidden, dim, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(F.adaptive_avg_pool2d(x, 1)))))


class Plus(nn.Module):
    def __init__(self, m):
        super().__init__()
        self.m = m

    def forward(self, x):
        return x + self.m(x)


class Block(nn.Module):
    def __init__(self, in_dim, dim, gate):
        super().__init__()
        if in_dim == dim:
            self.token_mixer = nn.Sequential(Branches(dim), Gate(dim) if gate else nn.Identity())
        else:
            spatial = ConvNorm(in_dim, in_dim, 3, 2, groups=in_dim)
            self.token_mixer = nn.Sequential(spatial, nn.Identity(), ConvNorm(in_dim, dim, 1))
        self.channel_mixer = Plus(nn.Sequential(ConvNorm(dim, 2 * dim, 1), nn.GELU(), ConvNorm(2 * dim, dim, 1)))

    def forward(self, x):
        return self.channel_mixer(self.token_mixer(x))


class Enlarge(nn.Module):
    def forward(self, x):
        return F.interpolate(x, scale_factor=2, mode="bicubic", align_corners=False)


class OneAfterAnother(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.op_list = nn.Sequential(*layers)

    def forward(self, x):
        return self.op_list(x)


class NormOverChannels(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        centred = x - x.mean(1, keepdim=True)
        scale = (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
        return centred / scale * self.weight[:, None, None] + self.bias[:, None, None]


class PlainRepViT(nn.Module):
    """The encoder as published, module for module."""

    def __init__(self):
        super().__init__()
        stem = nn.Sequential(ConvNorm(3, 24, 3, 2), nn.GELU(), ConvNorm(24, 48, 3, 2))
        widths = [48] * 3 + [96] * 4 + [192] * 16 + [384] * 3
        gated = {1, 5, *range(9, 22, 2), 25}
        blocks = [
            Block(a, b, i in gated) for i, (a, b) in enumerate(zip([48, *widths[:-1]], widths, strict=True), start=1)
        ]
        self.features = nn.ModuleList([stem, *blocks])
        self.fuse_stage2 = nn.Conv2d(192, 256, 1, bias=False)
        self.fuse_stage3 = OneAfterAnother(nn.Conv2d(384, 256, 1, bias=False), Enlarge())
        self.neck = nn.Sequential(
            nn.Conv2d(256, 256, 1, bias=False),
            NormOverChannels(256),
            nn.Conv2d(256, 256, 3, padding=1, bias=False),
            NormOverChannels(256),
        )

    def forward(self, x):
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i == 23:
                middle = x
        return self.neck(self.fuse_stage2(middle) + self.fuse_stage3(x))


@cache
def plain() -> PlainRepViT:
    """The published tree with random weights and statistics, such that no branch drowns another."""
    encoder = PlainRepViT().eval().requires_grad_(False)
    randomise(encoder)
    generator = torch.Generator().manual_seed(1)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(2, 6, generator=generator)
    return encoder


def published() -> dict[str, torch.Tensor]:
    """The encoder's part of a state dict as published."""
    return {f"image_encoder.{name}": value for name, value in plain().state_dict().items()}


def small() -> RepViTEncoder:
    encoder = RepViTEncoder(SMALL)
    randomise(encoder)
    return encoder.eval()


def test_names_and_shapes_are_the_published_ones():
    expected = {name: tuple(shape) for name, shape in PUBLISHED.items() if name.startswith("image_encoder.")}
    assert len(PUBLISHED) == 821
    assert {name: tuple(value.shape) for name, value in published().items()} == expected


@pytest.mark.parametrize("size", [(96, 64), (64, 64)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_equals_the_straightforward_tree(size, dtype, tolerance):
    tensors = {name: v.to(dtype) if v.is_floating_point() else v for name, v in published().items()}
    encoder = RepViTEncoder(edge_sam.infer_config(tensors, PATH)).to(dtype).eval()
    encoder.load_state_dict(edge_sam.encoder_tensors(tensors, PATH))
    reference = PlainRepViT().to(dtype).eval().requires_grad_(False)
    reference.load_state_dict(plain().state_dict())
    image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)).to(dtype)
    expected = reference(image)
    assert expected.std() > 0.1
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            found = encoder(image)
        assert found.requires_grad == grad
        assert found.shape == (2, 256, size[0] // 16, size[1] // 16)
        assert (found - expected).abs().max() < tolerance * expected.abs().max()


def test_parameters_and_macs_are_those_of_the_published_model():
    with torch.device("meta"):
        encoder = RepViTEncoder(RepViTConfig()).requires_grad_(False)
        macs = count_macs(encoder, lambda: encoder(torch.empty(1, 3, 1024, 1024)))
    assert count_parameters(encoder) == 5_485_896
    assert count_parameters(plain()) == 5_517_552
    assert macs.macs_modules == macs.macs_total == macs.macs_computed
    assert round(macs.macs_modules / 1e9, 4) == 20.0189


@pytest.mark.parametrize("size", [(128, 64), (80, 112), (48, 64), (16, 16)])
def test_strips_change_nothing_at_any_multiple_of_16(monkeypatch, size):
    encoder = small().requires_grad_(False)
    image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    whole = encoder(image)
    assert whole.shape == (2, 32, size[0] // 16, size[1] // 16)
    assert torch.isfinite(whole).all()
    for elements in (1, 5000, 1 << 20):
        monkeypatch.setattr("samlet.models.chunking._STRIP_ELEMENTS", elements)
        with torch.no_grad():
            assert torch.allclose(encoder(image), whole, atol=1e-5)


def test_outputs_of_blocks_are_left_alone_by_later_blocks():
    encoder = small().requires_grad_(False)
    names = encoder.embedding_features()
    _, in_strips = run_observed(encoder, IMAGE, names)
    _, whole = run_observed(encoder, IMAGE, names + encoder.bottleneck_features())
    assert len(names) == len(encoder.bottleneck_features()) == sum(SMALL.depths)
    for name in names:
        assert torch.allclose(in_strips[name], whole[name], atol=1e-4), name
    for name, hidden in zip(encoder.bottleneck_features(), sum(SMALL.mixer_dims, ()), strict=True):
        assert whole[name].shape[1] == hidden


def test_every_parameter_but_the_necks_is_in_a_group():
    encoder = small()
    groups = encoder.channel_groups()
    assert len({group.name for group in groups}) == len(groups)
    named = {member.parameter for group in groups for member in group.members}
    assert {name for name, _ in encoder.named_parameters() if not name.startswith("neck.")} == named
    along = [(m.parameter, m.dim) for group in groups for m in group.members]
    assert len(along) == len(set(along))
    parameters = dict(encoder.named_parameters())
    for group in groups:
        assert all(parameters[m.parameter].shape[m.dim] == group.size for m in group.members), group.name


def test_keeping_everything_is_the_identity():
    encoder = small()
    whole = cut_encoder(encoder, {g.name: torch.arange(g.size) for g in encoder.channel_groups()})
    assert whole.config == encoder.config
    with torch.no_grad():
        assert torch.equal(whole(IMAGE), encoder(IMAGE))


@pytest.mark.parametrize("kind", ["embedding", "bottleneck"])
def test_zeroed_channels_equal_cut_ones(kind):
    encoder, generator = small(), torch.Generator().manual_seed(0)
    groups = [g for g in encoder.channel_groups() if g.kind == kind]
    with torch.no_grad():
        before = encoder(IMAGE)
        for group in [*[[g] for g in groups], groups]:
            kept = {g.name: some_of(g, generator) for g in group}
            cut, zeroed = cut_encoder(encoder, kept)(IMAGE), zero(encoder, group, kept)(IMAGE)
            assert torch.allclose(cut, zeroed, atol=2e-5), [g.name for g in group]
            assert not torch.allclose(cut, before, atol=2e-5), f"{group[0].name} reaches nothing"


def test_reads_a_whole_state_dict():
    sam = Sam(SamConfig(encoder=RepViTConfig()))
    rest = {name: v for name, v in sam.state_dict().items() if not name.startswith("image_encoder.")}
    tensors = published() | rest
    assert {name: list(value.shape) for name, value in tensors.items()} == PUBLISHED
    assert edge_sam.matches(tensors)
    assert not edge_sam.matches(sam.state_dict())
    read = edge_sam.read(tensors, PATH)
    assert read.config.encoder == RepViTConfig()
    assert all(torch.equal(read.state_dict()[name], value) for name, value in rest.items())
    for entry in ("mask_decoder.iou_token.weight", "prompt_encoder.not_a_point_embed.weight"):
        with pytest.raises(samlet.CheckpointError, match=entry):
            edge_sam.read({name: value for name, value in tensors.items() if name != entry}, PATH)
    with pytest.raises(samlet.CheckpointError, match=r"1 surplus \(rpn_head\.weight\)"):
        edge_sam.read(tensors | {"rpn_head.weight": torch.zeros(1)}, PATH)


def test_counters_of_batches_may_be_missing():
    tensors = {name: value for name, value in published().items() if not name.endswith("num_batches_tracked")}
    assert len(tensors) == 684 - 106
    expected = edge_sam.encoder_tensors(published(), PATH)
    assert all(torch.equal(value, expected[name]) for name, value in edge_sam.encoder_tensors(tensors, PATH).items())


@pytest.mark.parametrize(
    "name",
    [
        "features.0.0.bn.weight",
        "features.0.2.c.weight",
        "features.1.token_mixer.0.conv.c.weight",
        "features.1.token_mixer.0.conv1.bn.running_mean",
        "features.5.token_mixer.1.fc1.bias",
        "features.5.token_mixer.1.fc2.weight",
        "features.8.token_mixer.0.bn.running_var",
        "features.24.token_mixer.2.c.weight",
        "features.26.channel_mixer.m.0.bn.bias",
        "features.26.channel_mixer.m.2.bn.bias",
        "fuse_stage2.weight",
        "fuse_stage3.op_list.0.weight",
        "neck.3.bias",
    ],
)
def test_missing_entries_are_named(name):
    tensors = published()
    del tensors[f"image_encoder.{name}"]
    with pytest.raises(samlet.CheckpointError) as error:
        edge_sam.encoder_tensors(tensors, PATH)
    assert f"1 missing (image_encoder.{name})" in str(error.value)


@pytest.mark.parametrize("layer", ["features.0.0", "features.7.channel_mixer.m.0", "neck.0"])
def test_layers_without_which_no_width_is_known_are_named(layer):
    tensors = {name: v for name, v in published().items() if not name.startswith(f"image_encoder.{layer}.")}
    with pytest.raises(samlet.CheckpointError, match=f"it lacks image_encoder.{layer};"):
        edge_sam.encoder_tensors(tensors, PATH)


@pytest.mark.parametrize(
    "name",
    [
        "image_encoder.features.2.token_mixer.0.conv.c.bias",
        "image_encoder.features.2.token_mixer.0.num_batches_tracked",
        "image_encoder.features.4.token_mixer.1.fc1.weight",
        "image_encoder.fuse_stage2.bias",
        "image_encoder.neck.4.weight",
        "image_encoder.features.x.weight",
    ],
)
def test_surplus_entries_are_refused(name):
    with pytest.raises(samlet.CheckpointError, match=name.replace(".", r"\.") if ".4.token" not in name else "squeeze"):
        edge_sam.encoder_tensors(published() | {name: torch.zeros(8)}, PATH)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("image_encoder.features.3.token_mixer.0.conv.c.weight", (48, 1, 5, 5)),
        ("image_encoder.features.3.token_mixer.0.conv1.c.weight", (48, 1, 3, 3)),
        ("image_encoder.features.9.token_mixer.1.fc2.weight", (192, 40, 1, 1)),
        ("image_encoder.features.8.token_mixer.2.c.weight", (192, 48, 1, 1)),
        ("image_encoder.features.26.channel_mixer.m.2.bn.running_var", (1,)),
        ("image_encoder.fuse_stage3.op_list.0.weight", (128, 384, 1, 1)),
        ("image_encoder.neck.3.bias", ()),
    ],
)
def test_misshapen_entries_are_named_with_both_shapes(name, shape):
    whole = published()
    expected = f"{name} is {shape}, expected {tuple(whole[name].shape)}"
    with pytest.raises(samlet.CheckpointError) as error:
        edge_sam.encoder_tensors(whole | {name: torch.zeros(shape)}, PATH)
    assert f"1 of another shape ({expected})" in str(error.value)


def test_all_problems_come_in_one_message():
    tensors = published() | {"image_encoder.head.weight": torch.zeros(1)}
    tensors["image_encoder.neck.2.weight"] = torch.zeros(256, 256, 1, 1)
    del tensors["image_encoder.features.0.0.bn.weight"]
    with pytest.raises(samlet.CheckpointError, match=r"0\.0\.bn\.weight\); 1 surplus .*head.*; 1 of another .*neck\.2"):
        edge_sam.encoder_tensors(tensors, PATH)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stem_dim": 0}, "stem_dim is 0; every width .* at least 1"),
        ({"embed_dims": (48, 96, 192)}, "3 embed_dims, 4 mixer_dims, 4 squeeze_dims; expected 4 each"),
        ({"squeeze_dims": ((16, 0), (0, 24), (0, 0, -8), (0, 32))}, "squeeze_dims is .* at least 0"),
        ({"squeeze_dims": ((16, 0), (0, 24), (0, 0), (0, 32))}, "as many entries a stage"),
        ({"squeeze_dims": ((16, 0), (8, 24), (0, 0, 16), (0, 32))}, "expected 0 first in stages 1 to 3"),
        ({"mixer_dims": ((), (48, 40), (64, 48, 56), (80, 72))}, "at least one block a stage"),
        ({"image_size": 100}, "100 is not a multiple of the stride 16"),
    ],
)
def test_impossible_configs_are_refused(change, message):
    with pytest.raises(samlet.InputError, match=message):
        dataclasses.replace(SMALL, **change)
