"""Q-TinySAM's pickled module: its layers one by one, its whole encoder, and files that are not quite one."""

from __future__ import annotations

import contextlib
import copy
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import samlet
from samlet.checkpoints import load_checkpoint, native
from samlet.models.decoders.full import FullMaskDecoder, prompt_decoder
from samlet.models.decoders.sam.fast import FastMaskDecoder
from samlet.models.quantized import (
    InputQuantizer,
    QuantizedConv2d,
    QuantizedConvTranspose2d,
    QuantizedLinear,
    is_quantized,
)
from tests.checkpoints.test_modules import decoder_like, decoder_names, published, refused, without_hooks
from tests.conftest import randomise

SIDE, DIMS, WINDOWS, KEY = 64, (8, 16, 24, 16), (7, 4, 7), 8


def on_grid(x, scale, low, high):
    return torch.clip(torch.round(x / scale), low, high) * scale


def counters(module, **values):
    for name, value in values.items():
        module.register_buffer(name, torch.tensor(value, dtype=torch.int32))


class InferQuantLinear(nn.Linear):
    """`blocks`: of the weight's rows, of its columns, and of the inputs."""

    def __init__(self, layer, blocks=(1, 1, 1), bits=8):
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None)
        self.load_state_dict(layer.state_dict())
        self.mode, self.w_bit, self.a_bit, self.bias_correction = "quant_forward", bits, bits, True
        self.w_qmax = self.a_qmax = 2 ** (bits - 1)
        n_v, n_h, n_a = blocks
        rows, columns, chunk = self.out_features // n_v, self.in_features // n_h, self.in_features // n_a
        largest = self.weight.detach().view(n_v, rows, n_h, columns).abs().amax((1, 3), keepdim=True)
        self.register_buffer("w_interval", largest / (self.w_qmax - 0.7))
        self.register_buffer("a_interval", 3 * (1 + torch.rand(n_a, 1)) / self.a_qmax)
        counters(self, n_V=n_v, n_H=n_h, n_a=n_a, crb_rows=rows, crb_cols=columns, crb_acts=chunk)

    def quantized_weight(self):
        scales = self.w_interval[:, 0, :, 0].repeat_interleave(int(self.crb_rows), 0)
        scales = scales.repeat_interleave(int(self.crb_cols), 1)
        return on_grid(self.weight, scales, -self.w_qmax, self.w_qmax - 1)

    def quantized_input(self, x):
        chunks = x.split(int(self.crb_acts), dim=-1)
        q = self.a_qmax
        return torch.cat([on_grid(c, s, -q, q - 1) for c, s in zip(chunks, self.a_interval[:, 0], strict=True)], -1)

    def forward(self, x):
        if self.mode == "raw":
            return super().forward(x)
        return F.linear(self.quantized_input(x), self.quantized_weight(), self.bias)


class InferQuantLinearPost(InferQuantLinear):
    def __init__(self, layer, blocks=(1, 1, 1), bits=8):
        super().__init__(layer, blocks, bits)
        self.register_buffer("a_neg_interval", torch.tensor(0.16997124254703522 / self.a_qmax))

    def quantized_input(self, x):
        positive, q = torch.clip(x, min=0).split(int(self.crb_acts), dim=-1), self.a_qmax
        parts = [on_grid(c, s, 0, q - 1) for c, s in zip(positive, self.a_interval[:, 0], strict=True)]
        return torch.where(x > 0, torch.cat(parts, -1), on_grid(x, self.a_neg_interval, -q, 0))


def convolution_state(module, layer, per_channel, bits, axis):
    module.load_state_dict(layer.state_dict())
    module.mode, module.w_bit, module.a_bit = "quant_forward", 8, bits
    module.w_qmax, module.a_qmax = 128, 2 ** (bits - 1)
    axes = [i for i in range(4) if i != axis] if per_channel else [0, 1, 2, 3]
    module.register_buffer("w_interval", module.weight.detach().abs().amax(axes, keepdim=True) / 127.3)
    shape = (1, module.in_channels, 1, 1) if per_channel else (1, 1, 1, 1)
    module.register_buffer("a_interval", 3 * (1 + torch.rand(shape)) / module.a_qmax)
    module.register_buffer("a_bias", 0.3 * torch.randn(()))
    counters(module, n_V=1, n_H=1)


class Convolution:
    def quantized_input(self, x):
        if self.a_bit >= 32:
            return x
        q = self.a_qmax
        levels = torch.clip(torch.round((x - self.a_bias) / self.a_interval), -q, q - 1)
        return levels * self.a_interval + self.a_bias

    def quantized_weight(self):
        return on_grid(self.weight, self.w_interval, -128, 127)


class InferQuantConv2d(Convolution, nn.Conv2d):
    def __init__(self, layer, per_channel=False, bits=8):
        names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
        super().__init__(**{name: getattr(layer, name) for name in names}, bias=layer.bias is not None)
        convolution_state(self, layer, per_channel, bits, axis=0)

    def forward(self, x):
        x, padding = self.quantized_input(x), self.padding[0]
        x = F.pad(x, (padding,) * 4)
        return F.conv2d(x, self.quantized_weight(), self.bias, self.stride, 0, self.dilation, self.groups)


class InferQuantConvTranspose2d(Convolution, nn.ConvTranspose2d):
    def __init__(self, layer, per_channel=False, bits=8):
        super().__init__(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride)
        convolution_state(self, layer, per_channel, bits, axis=1)

    def forward(self, x):
        return F.conv_transpose2d(self.quantized_input(x), self.quantized_weight(), self.bias, self.stride)


class InferQuantMatMul(nn.Module):
    def __init__(self):
        super().__init__()
        self.mode, self.A_bit, self.B_bit = "quant_forward", 8, 8
        self.register_buffer("A_interval", torch.ones(1, 1, 1, 1, 1, 1, 1))
        self.register_buffer("B_interval", torch.ones(1, 1, 1, 1, 1, 1, 1))
        counters(self, n_G_A=1, crb_groups_A=1, pad_rows_B=0)


class InferQuantMatMulPost(InferQuantMatMul):
    def __init__(self):
        super().__init__()
        self.register_buffer("split", torch.tensor(0.01))


class Conv2d_BN(nn.Sequential):  # noqa: N801
    def __init__(self, a, b, kernel=1, stride=1, groups=1):
        super().__init__()
        self.add_module("c", nn.Conv2d(a, b, kernel, stride, kernel // 2, groups=groups, bias=False))
        self.add_module("bn", nn.BatchNorm2d(b))


class PatchEmbed(nn.Module):
    def __init__(self):
        super().__init__()
        self.seq = nn.Sequential(Conv2d_BN(3, 6, 3, 2), nn.GELU(), Conv2d_BN(6, DIMS[0], 3, 2))

    def forward(self, x):
        return self.seq(x)


class MBConv(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = Conv2d_BN(dim, 12), Conv2d_BN(12, 12, 3, 1, 12), Conv2d_BN(12, dim)

    def forward(self, x):
        return F.gelu(x + self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x))))))


class PatchMerging(nn.Module):
    def __init__(self, a, b, stride):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = Conv2d_BN(a, b), Conv2d_BN(b, b, 3, stride, b), Conv2d_BN(b, b)

    def forward(self, x):
        return self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))


class Attention(nn.Module):
    def __init__(self, dim, size):
        super().__init__()
        self.num_heads, self.scale = dim // KEY, KEY**-0.5
        self.norm, self.qkv, self.proj = nn.LayerNorm(dim), nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        places = [(i, j) for i in range(size) for j in range(size)]
        numbers, index = {}, []
        for a in places:
            for b in places:
                index.append(numbers.setdefault((abs(a[0] - b[0]), abs(a[1] - b[1])), len(numbers)))
        self.attention_biases = nn.Parameter(torch.zeros(self.num_heads, len(numbers)))
        self.register_buffer("attention_bias_idxs", torch.tensor(index).view(size**2, size**2), persistent=False)
        self.ab = None
        self.matmul1, self.matmul2 = InferQuantMatMul(), InferQuantMatMulPost()

    def forward(self, x):
        """One window (tokens, C)."""
        qkv = self.qkv(self.norm(x)).view(len(x), self.num_heads, 3, KEY)
        heads = []
        for head in range(self.num_heads):
            q, k, v = qkv[:, head].unbind(1)
            bias = self.attention_biases[head][self.attention_bias_idxs]
            heads.append((q @ k.T * self.scale + bias).softmax(-1) @ v)
        return self.proj(torch.cat(heads, -1))


class Mlp(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm, self.fc1, self.fc2, self.act = nn.LayerNorm(dim), nn.Linear(dim, 24), nn.Linear(24, dim), nn.GELU()

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(self.norm(x))))


class TinyViTBlock(nn.Module):
    def __init__(self, dim, size):
        super().__init__()
        self.window_size = size
        self.attn, self.mlp, self.local_conv = Attention(dim, size), Mlp(dim), Conv2d_BN(dim, dim, 3, 1, dim)

    def forward(self, x):
        tokens, size = x[0].permute(1, 2, 0), self.window_size
        height, width, dim = tokens.shape
        whole = torch.zeros(-(-height // size) * size, -(-width // size) * size, dim, dtype=x.dtype)
        whole[:height, :width] = tokens
        for top in range(0, height, size):
            for left in range(0, width, size):
                part = (slice(top, top + size), slice(left, left + size))
                whole[part] = self.attn(whole[part].reshape(size**2, dim)).view(size, size, dim)
        x = x + whole[:height, :width].permute(2, 0, 1)[None]
        x = self.local_conv(x)
        return x + self.mlp(x[0].permute(1, 2, 0)).permute(2, 0, 1)[None]


class BasicLayer(nn.Module):
    def __init__(self, stage):
        super().__init__()
        block = MBConv(DIMS[0]) if stage == 0 else TinyViTBlock(DIMS[stage], WINDOWS[stage - 1])
        self.blocks = nn.ModuleList([block])
        self.downsample = PatchMerging(*DIMS[stage : stage + 2], (2, 2, 1)[stage]) if stage < 3 else None

    def forward(self, x):
        x = self.blocks[0](x)
        return x if self.downsample is None else self.downsample(x)


class LayerNorm2d(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias, self.eps = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels)), 1e-6

    def forward(self, x):
        mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
        return self.weight[:, None, None] * (x - mean) / (variance + 1e-6).sqrt() + self.bias[:, None, None]


class TinyViT(nn.Module):
    def __init__(self):
        super().__init__()
        self.img_size, self.patch_embed = SIDE, PatchEmbed()
        self.layers = nn.ModuleList(BasicLayer(stage) for stage in range(4))
        self.norm_head, self.head = nn.LayerNorm(DIMS[3]), nn.Linear(DIMS[3], 10)
        self.neck = nn.Sequential(
            nn.Conv2d(DIMS[3], 32, 1, bias=False),
            LayerNorm2d(32),
            nn.Conv2d(32, 32, 3, padding=1, bias=False),
            LayerNorm2d(32),
        )

    def forward(self, x):
        x = self.patch_embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.neck(x)


class PublishedSam(nn.Module):
    def __init__(self):
        super().__init__()
        like = decoder_like()
        self.image_encoder, self.prompt_encoder, self.mask_decoder = TinyViT(), like.prompt_encoder, like.mask_decoder
        self.register_buffer("pixel_mean", torch.zeros(3, 1, 1), persistent=False)


LAYERS = (
    InferQuantLinear,
    InferQuantLinearPost,
    InferQuantConv2d,
    InferQuantConvTranspose2d,
    InferQuantMatMul,
    InferQuantMatMulPost,
)


def names(package="quantization_layer.layers"):
    encoder = (TinyViT, PatchEmbed, Conv2d_BN, MBConv, PatchMerging, BasicLayer, TinyViTBlock, Attention, Mlp)
    classes = {f"tinysam.modeling.tiny_vit_sam.{one.__name__}": one for one in (*encoder, LayerNorm2d)}
    classes |= decoder_names("tinysam") | {"tinysam.modeling.sam.Sam": PublishedSam}
    return classes | {f"{package}.{one.__name__}": one for one in LAYERS}


def float_sam():
    torch.manual_seed(3)
    model = PublishedSam().eval()
    randomise(model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 1.5)
    return model


def quantize(model, bits=8, parts=("",)):
    """Put the quantized layers of the published classes into a model or some parts of it, with blocks of all kinds."""
    everywhere = [
        (name, module)
        for name, module in model.named_modules()
        if type(module).__module__.startswith("torch.nn") and name.startswith(parts)
    ]
    for count, (name, module) in enumerate(everywhere):
        if isinstance(module, nn.Linear):
            blocks = [(1, 1, 1), (module.out_features, 1, 1), (2 - module.out_features % 2, 2, 4)][count % 3]
            kind = InferQuantLinearPost if name.endswith("fc2") else InferQuantLinear
            made = kind(module, blocks, bits)
        elif isinstance(module, nn.ConvTranspose2d):
            made = InferQuantConvTranspose2d(module, count % 2 == 0)
        elif isinstance(module, nn.Conv2d):
            made = InferQuantConv2d(module, count % 2 == 0, 32 if "seq.0" in name else 8)
        else:
            continue
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, made)
    model.image_encoder.layers[3].blocks[0].mlp.fc1.mode = "raw"
    model.image_encoder.layers[1].blocks[0].attn.norm.weight.data.mul_(2)
    return model.eval()


def q_sam(bits=8):
    return quantize(float_sam(), bits)


def saved(model, path, package="quantization_layer.layers", small=True):
    with published(names(package)), without_hooks() if small else contextlib.nullcontext():
        torch.save(model, path)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return saved(q_sam(), tmp_path_factory.mktemp("tinysam") / "tinysam_w8a8.pth", small=False)


@pytest.fixture(scope="module")
def image():
    return torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def close_but_for_flips(found, expected, spread):
    """Equal, but for the few values that rounding errors carry over the border between two scales."""
    difference = (found - expected).abs()
    return bool(difference.median() < 1e-4 * spread and difference.max() < 0.05 * spread)


@torch.no_grad()
@pytest.mark.parametrize("bits", [8, 4])
def test_the_encoder_answers_as_the_published_modules(tmp_path, image, bits):
    model = q_sam(bits)
    sam = load_checkpoint(saved(model, tmp_path / "q.pth"))
    assert not [name for name in sys.modules if name.startswith(("tinysam", "quantization_layer"))]
    expected, plain = model.double().image_encoder(image), float_sam().double().image_encoder(image)
    found = sam.double().encode(image)
    spread = float(expected.std())
    assert close_but_for_flips(found, expected, spread)
    assert not close_but_for_flips(plain, expected, spread)


def test_with_gradients_layers_are_whole_and_the_answers_the_same(file, image):
    sam = load_checkpoint(file).double()
    whole = sam.encode(image)
    with torch.no_grad():
        assert close_but_for_flips(whole, sam.encode(image), float(whole.std()))


@torch.no_grad()
def test_every_layer_answers_as_the_published_one(file):
    model, sam = q_sam(), load_checkpoint(file)
    generator = torch.Generator().manual_seed(7)
    kinds = {InferQuantLinear: QuantizedLinear, InferQuantLinearPost: QuantizedLinear}
    kinds |= {InferQuantConv2d: QuantizedConv2d, InferQuantConvTranspose2d: QuantizedConvTranspose2d}
    seen = set()
    for name, theirs in model.named_modules():
        if type(theirs) not in kinds or name == "image_encoder.head":
            continue
        place = name.removesuffix(".c").replace("seq.0", "conv1").replace("seq.2", "conv2")
        ours = sam.get_submodule(place)
        if theirs.mode == "raw":
            assert type(ours) is nn.Linear
            continue
        assert type(ours) is kinds[type(theirs)]
        linear = isinstance(theirs, nn.Linear)
        shape = (5, 3, theirs.in_features) if linear else (2, theirs.in_channels, 7, 6)
        x = 2 * torch.randn(shape, generator=generator)
        x.flatten()[:3] = torch.tensor([0.0, 1e6, -1e6])
        x.flatten()[3:5] = 2.5 * theirs.a_interval.flatten()[0]  # a half, which goes to the even level
        expected = theirs(x)
        if name.endswith(".c"):
            expected = model.get_submodule(name.removesuffix("c") + "bn")(expected)
        assert torch.allclose(ours(x), expected, atol=1e-4, rtol=1e-4), name
        if linear:
            assert torch.equal(ours.weight, theirs.quantized_weight())
            assert torch.equal(ours.inputs(x), theirs.quantized_input(x))
        seen.add((type(theirs), theirs.w_interval.numel() > 1, theirs.a_interval.numel() > 1))
    assert len(seen) >= 8


@torch.no_grad()
@pytest.mark.parametrize(
    "package", ["quantization_layer", "tinysam.quantization_layer.layers", "tinysam.quantization_layer"]
)
def test_other_places_of_the_classes(tmp_path, file, image, package):
    sam = load_checkpoint(saved(q_sam(), tmp_path / "q.pth", package))
    assert torch.equal(sam.encode(image.float()), load_checkpoint(file).encode(image.float()))


def folded(model, keep_level):
    """Batch norms in their convolutions, as a published model may have them, with or without the level `c`."""
    for name, module in list(model.named_modules()):
        if isinstance(module, Conv2d_BN):
            conv, norm = module.c, module.bn
            factor = norm.weight / (norm.running_var + norm.eps).sqrt()
            one = nn.Conv2d(
                conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, groups=conv.groups
            )
            one.weight.data, one.bias.data = (
                (conv.weight * factor.view(-1, 1, 1, 1)).detach(),
                (norm.bias - norm.running_mean * factor).detach(),
            )
            if keep_level:
                module.c, module.bn = one, nn.Identity()
            else:
                parent, _, last = name.rpartition(".")
                setattr(model.get_submodule(parent), last, one)
    return model


@torch.no_grad()
@pytest.mark.parametrize("keep_level", [True, False])
def test_batch_norms_that_are_folded_already(tmp_path, image, keep_level):
    model = quantize(folded(float_sam(), keep_level))
    sam = load_checkpoint(saved(model, tmp_path / "q.pth"))
    stem = model.image_encoder.patch_embed.seq[0]
    assert torch.equal(sam.image_encoder.patch_embed.conv1.weight, (stem.c if keep_level else stem).quantized_weight())
    expected = model.double().image_encoder(image)
    assert close_but_for_flips(sam.double().encode(image), expected, float(expected.std()))


@torch.no_grad()
def test_a_bias_before_a_batch_norm(tmp_path, image):
    model = q_sam()
    conv = model.image_encoder.layers[0].blocks[0].conv3.c
    conv.bias = nn.Parameter(torch.randn(DIMS[0]))
    sam = load_checkpoint(saved(model, tmp_path / "q.pth"))
    expected = model.double().image_encoder(image)
    assert close_but_for_flips(sam.double().encode(image), expected, float(expected.std()))


@torch.no_grad()
def test_prompts_go_through_the_quantized_layers(file, image):
    sam = load_checkpoint(file)
    assert is_quantized(sam)
    assert not is_quantized(decoder_like())
    embedding = sam.encode(image.float())
    decoder = prompt_decoder(sam, embedding)
    assert isinstance(decoder, FullMaskDecoder)
    assert isinstance(prompt_decoder(decoder_like(), torch.zeros(1, 32, 4, 4)), FastMaskDecoder)
    points, labels = torch.tensor([[[20.0, 30.0]]]), torch.ones(1, 1, dtype=torch.long)
    answer = sam.decode(embedding, points, labels)
    assert torch.equal(decoder.transform(points, labels).iou, answer.iou)
    calls = []
    quantizers = {name: one for name, one in sam.mask_decoder.named_modules() if isinstance(one, InputQuantizer)}
    for name, one in quantizers.items():
        one.register_forward_hook(lambda *_, name=name: calls.append(name))
    predictor = samlet.Predictor(sam, SIDE)
    predictor.set_image(np.random.default_rng(0).integers(0, 256, (50, 64, 3), np.uint8))
    assert predictor.predict(points=[[20, 30]]).low_res.shape[-1] == SIDE // 4
    assert set(calls) == set(quantizers)
    options = {"image_size": SIDE, "points_per_side": 2, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
    samlet.MaskGenerator(sam, **options)(np.zeros((50, 64, 3), np.uint8))


@torch.no_grad()
def test_copies_and_other_types(file, image):
    sam = load_checkpoint(file)
    embedding = sam.encode(image.float())
    assert torch.equal(copy.deepcopy(sam).encode(image.float()), embedding)
    half = copy.deepcopy(sam).to(torch.bfloat16)
    assert half.encode(image.bfloat16()).dtype == torch.bfloat16
    assert {value.dtype for value in half.state_dict().values()} == {torch.bfloat16}
    assert is_quantized(half)
    assert torch.equal(sam.encode(image.float()), embedding)
    assert not sam.training


@torch.no_grad()
def test_it_survives_saving_in_the_native_format_and_in_no_other(file, image, tmp_path):
    sam = load_checkpoint(file)
    for form in set(samlet.checkpoints.FORMATS) - {"native"}:
        with pytest.raises(samlet.InputError, match="quantized layers, which format"):
            samlet.save(sam, tmp_path / "m.pt", format=form)
    assert list(tmp_path.iterdir()) == []
    native.write(sam, tmp_path / "m")
    back = load_checkpoint(tmp_path / "m")
    assert back.fingerprint() == sam.fingerprint()
    assert torch.equal(back.encode(image.float()), sam.encode(image.float()))
    assert [type(module) for module in back.modules()] == [type(module) for module in sam.modules()]


def test_quantizers_of_few_bits():
    x = torch.tensor([-9.0, -1.5, -0.5, 0.5, 1.5, 2.5, 9.0])
    assert InputQuantizer(torch.tensor([1.0]), 3)(x).tolist() == [-4, -2, 0, 0, 2, 2, 3]
    shifted = InputQuantizer(torch.tensor([1.0]), 3, offset=torch.tensor([0.5]))
    assert shifted(x).tolist() == [-3.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5]
    twin = InputQuantizer(torch.tensor([1.0]), 3, negative_scale=torch.tensor([0.25]))
    assert twin(x).tolist() == [-1, -1, -0.5, 0, 2, 2, 3]
    chunks = InputQuantizer(torch.tensor([1.0, 10.0]), 8)
    assert chunks(torch.tensor([[4.4, 4.4, 14.0, 16.0]])).tolist() == [[4, 4, 10, 20]]
    maps = InputQuantizer(torch.tensor([1.0, 10.0]), 8, axes_behind=2)
    assert maps(torch.full((1, 2, 1, 1), 14.4)).flatten().tolist() == [14, 10]


FC2 = "image_encoder.layers.1.blocks.0.mlp.fc2"
QKV = "image_encoder.layers.1.blocks.0.attn.qkv"
CONV = "image_encoder.layers.0.blocks.0.conv1.c"


def attribute(name, key, value):
    return lambda m: setattr(m.get_submodule(name), key, value)


def buffer(name, key, value):
    return lambda m: m.get_submodule(name)._buffers.update({key: value})


def moved(name, made):
    def change(model):
        parent, _, last = name.rpartition(".")
        model.get_submodule(parent)._modules[last] = made(model.get_submodule(name))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (attribute(QKV, "mode", "calibration_step1"), "mode 'calibration_step1'; expected raw or quant_forward"),
        (attribute(QKV, "mode", 10**5000), "mode a int"),
        (attribute(QKV, "w_bit", 64), "w_bit 64; expected 2 to 32"),
        (attribute(QKV, "a_bit", None), "a_bit a NoneType"),
        (attribute(QKV, "w_qmax", 127), "w_qmax 127"),
        (buffer(QKV, "w_interval", None), "no w_interval"),
        (buffer(QKV, "a_interval", torch.ones(3, 1)), "a_interval of (3, 1)"),
        (buffer(QKV, "a_interval", torch.ones(1, 2)), "a_interval of (1, 2)"),
        (buffer(QKV, "a_interval", torch.zeros(1, 1)), "finite scales above 0"),
        (buffer(QKV, "w_interval", torch.full((1, 1, 1, 1), float("nan"))), "finite scales above 0"),
        (buffer(QKV, "w_interval", torch.ones(5, 1, 1, 1)), "w_interval of (5, 1, 1, 1)"),
        (buffer(QKV, "w_interval", torch.ones(1, 2, 1, 1)), "w_interval of (1, 2, 1, 1)"),
        (buffer(QKV, "w_interval", torch.ones(2)), "w_interval of (2,)"),
        (buffer(QKV, "w_interval", torch.ones(0)), "no w_interval"),
        (buffer(QKV, "w_interval", torch.ones(1, dtype=torch.int32)), "no w_interval"),
        (buffer(QKV, "extra", torch.ones(1)), "surplus"),
        (buffer(QKV, "a_neg_interval", torch.ones(())), "surplus"),
        (lambda m: m.get_submodule(QKV)._parameters.update(bias=None), f"1 missing ({QKV}.bias)"),
        (lambda m: m.get_submodule(QKV)._parameters.pop("weight"), "no weight"),
        (lambda m: m.get_submodule(QKV)._parameters.update(weight=nn.Parameter(torch.ones(3))), "weight of (3,)"),
        (lambda m: m.get_submodule(QKV)._parameters.update(weight=torch.ones(48, 0)), "crb_cols 16; expected 0"),
        (lambda m: m.get_submodule(CONV)._parameters.update(weight=torch.ones(10**12, 0, 1, 1)), "conv1"),
        (buffer(FC2, "a_neg_interval", None), "no a_neg_interval"),
        (buffer(FC2, "a_neg_interval", torch.ones(2, 1)), "a_neg_interval of (2, 1)"),
        (buffer(CONV, "a_bias", None), "no a_bias"),
        (buffer(CONV, "a_bias", torch.tensor(float("inf"))), "a_bias"),
        (buffer(CONV, "w_interval", torch.ones(1, 12, 1, 1)), "w_interval of (1, 12, 1, 1)"),
        (buffer(CONV, "w_interval", torch.ones(1, 1, 1, 1, 1)), "w_interval of (1, 1, 1, 1, 1)"),
        (buffer(CONV, "a_interval", torch.ones(1, 1, 1, 16)), "a_interval of (1, 1, 1, 16)"),
        (buffer("image_encoder.layers.0.blocks.0.conv1.bn", "running_mean", torch.ones(3)), "conv1.bn.running_mean"),
        (buffer("image_encoder.layers.0.blocks.0.conv1.bn", "running_var", None), "conv1.bn.running_var"),
        (buffer("image_encoder.layers.0.blocks.0.conv1.bn", "more", torch.ones(12)), "conv1.bn.more"),
        (
            lambda m: m.image_encoder.layers[0].blocks[0].conv1._parameters.update(weight=m.get_submodule(CONV).weight),
            "conv1",
        ),
        (moved("mask_decoder.iou_token", lambda _: InferQuantLinear(nn.Linear(32, 1, bias=False))), "Embedding"),
        (moved(f"{QKV[:-4]}.proj", lambda _: InferQuantConv2d(nn.Conv2d(16, 16, 1))), "proj"),
        (moved("mask_decoder.iou_prediction_head.layers.2", lambda m: nn.Sequential(m)), "iou_prediction_head"),
        (lambda m: m.mask_decoder._modules.pop("iou_prediction_head"), "iou_prediction_head"),
        (lambda m: m._modules.pop("image_encoder"), "looks like MobileSAM or TinySAM"),
    ],
)
def test_files_that_are_not_quite_one(tmp_path, change, message):
    model = quantize(float_sam(), parts=("image_encoder", "mask_decoder.iou_prediction_head"))
    change(model)
    refused(saved(model, tmp_path / "q.pth"), message)


def test_counters_must_agree(tmp_path):
    model = q_sam()
    layer = next(m for m in model.modules() if type(m) is InferQuantLinear and m.w_interval.numel() > 1)
    for name in ("n_V", "n_H", "crb_rows", "crb_cols"):
        found = getattr(layer, name)
        layer._buffers[name] = found + 1
        refused(saved(model, tmp_path / "q.pth"), f"{name} {int(found) + 1}; expected {int(found)}")
        layer._buffers[name] = found


def test_a_class_that_is_unknown(tmp_path):
    model = q_sam()
    model.image_encoder.layers[1].blocks[0].attn.matmul1.__class__ = type("InferQuantSoftmax", (nn.Module,), {})
    strange = type(model.image_encoder.layers[1].blocks[0].attn.matmul1)
    with published(names() | {"quantization_layer.layers.InferQuantSoftmax": strange}):
        torch.save(model, tmp_path / "q.pth")
    refused(tmp_path / "q.pth", "InferQuantSoftmax", "InferQuantLinearPost")
