"""Whole pickled modules: SlimSAM's tree answers as its own modules do, and nothing else comes out of a pickle."""

from __future__ import annotations

import contextlib
import io
import random
import sys
import types
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

import samlet
from samlet.checkpoints import load_checkpoint
from samlet.checkpoints.reading import read_module, read_tensors
from samlet.checkpoints.unpickling import read_file
from samlet.models import Sam, SamConfig, ViTConfig
from tests.checkpoints.test_unpickling import archive, evils
from tests.conftest import peak_growth, randomise

PACKAGE = "segment_anything_kd"
SIZE, HEADS, DIM, WINDOW = 320, 2, 24, 14
WIDTHS, HIDDEN, GLOBAL_BLOCKS = (12, 28, 16), (36, 60, 24), (1,)


class Attention(nn.Module):
    def __init__(self, width, side):
        super().__init__()
        self.num_heads, self.scale, self.use_rel_pos, self.input_size = (
            HEADS,
            (width // HEADS) ** -0.5,
            True,
            (side,) * 2,
        )
        self.q, self.k, self.v = (nn.Linear(DIM, width) for _ in range(3))
        self.proj = nn.Linear(width, DIM)
        self.rel_pos_h, self.rel_pos_w = (nn.Parameter(torch.zeros(2 * side - 1, width // HEADS)) for _ in range(2))

    def forward(self, x):
        """One image or window (h, w, C), head by head and query by query."""
        height, width, _ = x.shape
        q, k, v = (layer(x).unflatten(-1, (HEADS, -1)) for layer in (self.q, self.k, self.v))
        out = torch.zeros_like(q)
        rows, columns = torch.arange(height), torch.arange(width)
        for head in range(HEADS):
            for i in range(height):
                for j in range(width):
                    query = q[i, j, head]
                    logits = k[:, :, head] @ (query * self.scale)
                    logits = logits + (self.rel_pos_h[i - rows + height - 1] @ query)[:, None]
                    logits = logits + (self.rel_pos_w[j - columns + width - 1] @ query)[None, :]
                    out[i, j, head] = (logits.flatten().softmax(0)[:, None] * v[:, :, head].flatten(0, 1)).sum(0)
        return self.proj(out.flatten(2))


class MLPBlock(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.lin1, self.lin2, self.act = nn.Linear(DIM, hidden), nn.Linear(hidden, DIM), nn.GELU()

    def forward(self, x):
        return self.lin2(self.act(self.lin1(x)))


class Block(nn.Module):
    def __init__(self, index):
        super().__init__()
        self.window_size = 0 if index in GLOBAL_BLOCKS else WINDOW
        self.norm1, self.norm2 = nn.LayerNorm(DIM, eps=1e-6), nn.LayerNorm(DIM, eps=1e-6)
        self.attn = Attention(WIDTHS[index], self.window_size or SIZE // 16)
        self.mlp = MLPBlock(HIDDEN[index])

    def forward(self, x):
        y, side = self.norm1(x), self.window_size
        if side:
            height, width, _ = y.shape
            whole = torch.zeros(-(-height // side) * side, -(-width // side) * side, DIM)
            whole[:height, :width] = y
            for top in range(0, height, side):
                for left in range(0, width, side):
                    part = (slice(top, top + side), slice(left, left + side))
                    whole[part] = self.attn(whole[part])
            y = whole[:height, :width]
        else:
            y = self.attn(y)
        x = x + y
        return x + self.mlp(self.norm2(x))


class LayerNorm2d(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias, self.eps = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels)), 1e-6

    def forward(self, x):
        mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
        return self.weight[:, None, None] * (x - mean) / (variance + 1e-6).sqrt() + self.bias[:, None, None]


class PatchEmbed(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, DIM, 16, 16)


class ImageEncoderViT(nn.Module):
    def __init__(self):
        super().__init__()
        self.img_size, self.depth, self.num_heads, self.global_attn_indexes = SIZE, len(WIDTHS), HEADS, [*GLOBAL_BLOCKS]
        self.patch_embed = PatchEmbed()
        self.pos_embed = nn.Parameter(torch.zeros(1, SIZE // 16, SIZE // 16, DIM))
        self.blocks = nn.ModuleList(Block(i) for i in range(len(WIDTHS)))
        self.neck = nn.Sequential(
            nn.Conv2d(DIM, 32, 1, bias=False),
            LayerNorm2d(32),
            nn.Conv2d(32, 32, 3, padding=1, bias=False),
            LayerNorm2d(32),
        )

    def forward(self, image):
        x = self.patch_embed.proj(image)[0].permute(1, 2, 0) + self.pos_embed[0]
        for block in self.blocks:
            x = block(x)
        return self.neck(x.permute(2, 0, 1)[None])


class PublishedSam(nn.Module):
    def __init__(self, encoder, like):
        super().__init__()
        self.register_buffer("pixel_mean", torch.zeros(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.ones(3, 1, 1), persistent=False)
        self.image_encoder, self.prompt_encoder, self.mask_decoder = encoder, like.prompt_encoder, like.mask_decoder


def published_names(package):
    """Classes by the paths that they have in the published files; our own decoder's stand for those it names alike."""
    modeling = f"{package}.modeling"
    names = {
        f"{modeling}.sam.Sam": PublishedSam,
        f"{modeling}.common.LayerNorm2d": LayerNorm2d,
        f"{modeling}.common.MLPBlock": MLPBlock,
    }
    names |= {f"{modeling}.image_encoder.{c.__name__}": c for c in (ImageEncoderViT, Block, Attention, PatchEmbed)}
    return names | decoder_names(package)


def decoder_names(package):
    from samlet.models import building_blocks as layers
    from samlet.models.decoders.sam import mask_decoder, prompt_encoder

    modeling = f"{package}.modeling"
    return {
        f"{modeling}.prompt_encoder.PromptEncoder": prompt_encoder.PromptEncoder,
        f"{modeling}.prompt_encoder.PositionEmbeddingRandom": prompt_encoder.RandomPositions,
        f"{modeling}.prompt_encoder.MaskDownscaling": prompt_encoder.MaskDownscaling,
        f"{modeling}.common.OurLayerNorm2d": layers.LayerNorm2d,
        f"{modeling}.mask_decoder.MaskDecoder": mask_decoder.MaskDecoder,
        f"{modeling}.mask_decoder.MLP": layers.MLP,
        f"{modeling}.transformer.AttentionProducts": layers.AttentionProducts,  # stands for functions there
        f"{modeling}.mask_decoder.Product": layers.Product,
        f"{modeling}.transformer.TwoWayTransformer": mask_decoder.TwoWayTransformer,
        f"{modeling}.transformer.TwoWayAttentionBlock": mask_decoder.TwoWayBlock,
        f"{modeling}.transformer.Attention": mask_decoder.Attention,
        f"{modeling}.transformer.MLPBlock": mask_decoder.TransformerMLP,
    }


@contextlib.contextmanager
def published(classes):
    """Classes have published paths while the block lasts, in modules that vanish with it."""
    own = {one: (one.__module__, one.__qualname__) for one in classes.values()}
    made = {}
    for path, one in classes.items():
        *packages, name = path.split(".")
        for i in range(1, len(packages) + 1):
            made.setdefault(".".join(packages[:i]), types.ModuleType(".".join(packages[:i])))
        setattr(made[".".join(packages)], name, one)
        one.__module__, one.__qualname__ = ".".join(packages), name
    assert not made.keys() & sys.modules.keys()
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            del sys.modules[name]
        for one, (module, name) in own.items():
            one.__module__, one.__qualname__ = module, name


@contextlib.contextmanager
def without_hooks():
    """Modules are pickled without the hooks that they do not have, most of what there is to read."""
    nn.Module.__getstate__ = lambda self: {k: v for k, v in vars(self).items() if v or "_hook" not in k}
    try:
        yield
    finally:
        del nn.Module.__getstate__


def saved(content, path, classes=None, small=False):
    names = published_names(PACKAGE) if classes is None else classes
    with published(names), without_hooks() if small else contextlib.nullcontext():
        torch.save(content, path)
    return path


def decoder_like(out_channels=32):
    config = ViTConfig.uniform(embed_dim=8, depth=1, num_heads=1, global_blocks=(), image_size=64)
    sam = Sam(SamConfig(encoder=ViTConfig(**{**vars(config), "out_channels": out_channels})))
    for part in (sam.prompt_encoder, sam.mask_decoder):
        for module in part.modules():
            vars(module).pop("activation", None)  # a function, which the published modules keep as a class
    return sam


def slim_sam():
    """A pruned SAM as the authors saved it: the encoder in a `DataParallel`, with a method bound to it."""
    torch.manual_seed(0)
    model = PublishedSam(ImageEncoderViT(), decoder_like()).eval()
    randomise(model)
    with torch.no_grad():
        for block in model.image_encoder.blocks:
            block.attn.q.weight.mul_(2)  # so that the scale of attention shows
    return model


def wrapped(model):
    encoder = model.image_encoder
    encoder.forward = types.MethodType(ImageEncoderViT.forward, encoder)
    model.image_encoder = nn.DataParallel(encoder)
    return model


@pytest.fixture(scope="module")
def image():
    return torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def expected(image):
    with torch.no_grad():
        return slim_sam().image_encoder(image)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return saved(wrapped(slim_sam()), tmp_path_factory.mktemp("slim") / "SlimSAM-77.pth")


def same_encoder(sam, image, expected):
    found = sam.encode(image)  # with gradients, relative positions are computed another way
    with torch.no_grad():
        return all(torch.allclose(one, expected, atol=2e-5) for one in (found, sam.encode(image)))


def test_a_pickled_slim_sam_answers_as_its_own_modules(file, image, expected):
    sam = load_checkpoint(file)
    assert not [name for name in sys.modules if name.startswith(PACKAGE)]
    assert sam.config.encoder.qk_dims == sam.config.encoder.v_dims == (6, 14, 8)
    assert (sam.config.encoder.mlp_dims, sam.config.encoder.num_heads) == (HIDDEN, (HEADS,) * 3)
    assert (sam.config.encoder.window_size, sam.config.encoder.global_blocks) == (WINDOW, GLOBAL_BLOCKS)
    assert same_encoder(sam, image, expected)
    theirs = slim_sam().state_dict()
    others = [name for name in theirs if not name.startswith("image_encoder.")]
    assert len(others) > 100
    assert all(torch.equal(sam.state_dict()[name], theirs[name]) for name in others)


def test_its_state_dict_is_read_alike(tmp_path, image, expected):
    torch.save({"model": wrapped(slim_sam()).state_dict()}, tmp_path / "state.pth")
    assert same_encoder(load_checkpoint(tmp_path / "state.pth"), image, expected)
    path = saved({"epoch": 3, "model": nn.DataParallel(slim_sam())}, tmp_path / "nested.pth")
    assert same_encoder(load_checkpoint(path), image, expected)


def test_the_scale_that_the_modules_say_counts(tmp_path, image):
    model = slim_sam()
    for block, scale in zip(model.image_encoder.blocks, (0.5, 0.2, 0.3), strict=True):
        block.attn.scale = scale
    path = saved(model, tmp_path / "m.pth")
    with torch.no_grad():
        assert same_encoder(load_checkpoint(path), image, model.image_encoder(image))
    for block in model.image_encoder.blocks:
        block.attn.scale = 64**-0.5
    sam = load_checkpoint(saved(model, path))
    assert sam.config.encoder.scale_dim == 64
    assert torch.equal(sam.image_encoder.blocks[1].attn.rel_pos_h, model.image_encoder.blocks[1].attn.rel_pos_h)
    with torch.no_grad():
        assert same_encoder(sam, image, model.image_encoder(image))


def test_one_width_in_every_block_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "WIDTHS", (12, 12, 12))
    model = slim_sam()
    theirs = model.state_dict()
    for path in (saved(model, tmp_path / "module.pth"), tmp_path / "state.pth"):
        if not path.exists():
            torch.save(theirs, path)
        sam = load_checkpoint(path)
        assert sam.config.encoder.scale_dim == 6
        ours = sam.state_dict()
        for i in range(3):
            attention = f"image_encoder.blocks.{i}.attn"
            for part in ("weight", "bias"):
                rows = [theirs[f"{attention}.{layer}.{part}"] for layer in "qkv"]
                assert torch.equal(ours[f"{attention}.qkv.{part}"], torch.cat(rows))
            assert torch.equal(ours[f"{attention}.rel_pos_h"], theirs[f"{attention}.rel_pos_h"])


def test_names_are_those_of_state_dict(tmp_path):
    inner = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.Sequential(nn.Linear(2, 3)))
    inner.shared, inner.nothing, inner.answer, inner.shape = inner[2], None, 42, (1, "a")
    inner.register_buffer("cache", torch.ones(2), persistent=False)
    inner.register_module("later", None)
    torch.save(inner, tmp_path / "m.pth")
    found, expected = read_module(tmp_path / "m.pth"), inner.state_dict()
    assert list(found.tensors) == list(expected)
    assert all(torch.equal(found.tensors[name], value) for name, value in expected.items())
    assert list(found.non_persistent) == ["cache"]
    assert found.classes["2.0"] == found.classes["shared.0"] == "torch.nn.modules.linear.Linear"
    assert found.attributes["2.0"]["in_features"] == 2
    assert (found.attributes[""]["answer"], found.attributes[""]["shape"]) == (42, (1, "a"))
    wrapped_twice = nn.Sequential(nn.DataParallel(nn.Sequential(nn.DataParallel(nn.Linear(2, 3)))))
    torch.save(nn.DataParallel(wrapped_twice), tmp_path / "m.pth")
    assert list(read_tensors(tmp_path / "m.pth")) == ["0.0.weight", "0.0.bias"]
    assert read_module(tmp_path / "m.pth").classes["0.0"] == "torch.nn.modules.linear.Linear"
    torch.save(wrapped_twice.state_dict(), tmp_path / "m.pth")
    assert list(read_tensors(tmp_path / "m.pth")) == ["0.0.weight", "0.0.bias"]
    torch.save({"module.a": torch.ones(1), "a": torch.zeros(1)}, tmp_path / "m.pth")
    refused(tmp_path / "m.pth", "module.")


def refused(path, *expected):
    with pytest.raises(samlet.CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 2000
    for part in (path.name, *expected):
        assert part in message, message


def _state(module, key, value):
    vars(module)[key] = value


def _many_entries(module):
    """100 modules, each with the same 2,001 parameters that are None."""
    shared = dict.fromkeys(map(str, range(2001)))
    for _ in range(100):
        module.blocks.append(nn.Identity())
        _state(module.blocks[-1], "_parameters", shared)


PLACES = {
    "root": lambda _, evil: evil,
    "attribute": lambda m, evil: _state(m.blocks[0], "window_size", evil),
    "scale": lambda m, evil: _state(m.blocks[0].attn, "scale", evil),
    "method": lambda m, evil: _state(m, "forward", evil),
    "parameter": lambda m, evil: m.blocks[1].attn.q._parameters.update(weight=evil),
    "buffer": lambda m, evil: m._buffers.update(pixel_mean=evil),
    "module": lambda m, evil: m.blocks._modules.update({"3": evil}),
    "key": lambda m, evil: m._modules.update({evil: nn.GELU()}),
    "hook": lambda m, evil: m.blocks[2]._forward_hooks.update({0: evil}),
    "names": lambda m, evil: _state(m, "_non_persistent_buffers_set", evil),
    "fields": lambda m, evil: _state(m, "_modules", evil),
    "beside": lambda m, evil: {"model": m, "optimizer": [evil]},
}


@pytest.mark.parametrize("kind", sorted(evils("")))
@pytest.mark.parametrize("place", sorted(PLACES))
def test_nothing_runs_wherever_it_stands_in_a_module(tmp_path, kind, place):
    marker = tmp_path / "owned"
    evil, name = evils(marker)[kind]
    encoder = ImageEncoderViT()
    content = PLACES[place](encoder, evil)
    path = tmp_path / "m.pth"
    with published(published_names(PACKAGE)), without_hooks() if place != "hook" else contextlib.nullcontext():
        stream = io.BytesIO()
        torch.save(encoder if content is None else content, stream)
        path.write_bytes(stream.getvalue())
    refused(path, name)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.blocks._modules.update({"3": torch.ones(1)}), "blocks.3 is no module"),
        (lambda m: m.blocks._modules.update({"3.a": nn.GELU()}), "proper name"),
        (lambda m: m.blocks._modules.update({"a\nb": nn.GELU()}), "proper name"),
        (lambda m: m.blocks._modules.update({3: nn.GELU()}), "proper name"),
        (lambda m: m.blocks._modules.update({"x" * 10**6: nn.GELU()}), "proper name"),
        (lambda m: m._buffers.update(a="text"), "a is no tensor"),
        (lambda m: m._buffers.update(pos_embed=torch.ones(1)), "pos_embed is no tensor, or is there twice"),
        (lambda m: _state(m.neck, "_parameters", [1]), "neck is no module"),
        (lambda m: _state(m.neck, "_buffers", None), "neck is no module"),
        (_many_entries, "more than 200000 entries"),
        (lambda m: m.neck._modules.update(again=m.neck), "deeper than 64 levels"),
        (lambda m: m.neck._modules.update(a=m, b=m, c=m), "more than 200000 entries"),
    ],
)
def test_trees_that_are_none(tmp_path, change, message):
    encoder = ImageEncoderViT()
    change(encoder)
    refused(saved(encoder, tmp_path / "m.pth", small=True), message)


def nested(depth, *names):
    """A pickle of modules in modules, each under all of `names`."""
    open_, key = b"ctorch.nn.modules.container\nSequential\n)\x81}(", lambda text: b"X%c\x00\x00\x00" % len(text) + text
    empty = key(b"_parameters") + b"}" + key(b"_buffers") + b"}" + key(b"_modules") + b"}"
    parts = [b"\x80\x02", (open_ + empty + b"(" + key(names[0])) * depth, open_, empty, b"ub"]
    for level in range(depth):  # numbered, and named again where there are more names
        number = level.to_bytes(4, "little")
        parts += [b"r", number, *(key(name) + b"j" + number for name in names[1:]), b"uub"]
    return b"".join([*parts, b"."])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (nested(100, b"a"), "deeper than 64 levels"),
        (nested(50, b"a", b"b"), "more than 200000 entries"),
        (nested(5_000, b"a"), "recursion"),
        pytest.param(nested(100_000, b"a"), "more than 1048576 instructions", marks=pytest.mark.slow),
    ],
    ids=["deep", "wide", "deeper", "deepest"],
)
def test_trees_without_end(tmp_path, data, message):
    path = archive(tmp_path / "m.pth", data)
    assert peak_growth(lambda: refused(path, message)) < 600e6


def test_a_small_nested_pickle_is_what_it_is_meant_to_be(tmp_path):
    found = read_module(archive(tmp_path / "m.pth", nested(3, b"a", b"b")))
    assert len(found.classes) == 2**4 - 1
    assert "a.b.a" in found.classes


def load_damaged(file, path, rewritten, source, trials):
    """With `rewritten`, the archive is whole and its pickle damaged."""
    with zipfile.ZipFile(file) as whole:
        entries = {entry: whole.read(entry) for entry in whole.namelist()}
    target = next(entry for entry in entries if entry.endswith("data.pkl"))
    content = entries[target] if rewritten else file.read_bytes()
    for trial in range(trials):
        damaged = bytearray(content)
        if trial % 3 == 0:
            del damaged[source.randrange(len(damaged)) :]
        for _ in range(source.randrange(1, 4)):
            damaged[source.randrange(len(damaged))] = source.randrange(256)
        if rewritten:
            with zipfile.ZipFile(path, "w") as out:
                for entry, value in entries.items():
                    out.writestr(entry, bytes(damaged) if entry == target else value)
        else:
            path.write_bytes(bytes(damaged))
        try:
            load_checkpoint(path)
        except samlet.CheckpointError as error:
            assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize("trials", [30, pytest.param(120, marks=pytest.mark.slow)])
@pytest.mark.parametrize("rewritten", [False, True])
def test_damaged_files_end_in_an_answer_or_one_error(tmp_path, rewritten, trials):
    file = saved(wrapped(slim_sam()), tmp_path / "whole.pth", small=trials < 100)
    load_checkpoint(file)
    grown = peak_growth(lambda: load_damaged(file, tmp_path / "m.pth", rewritten, random.Random(trials), trials))
    assert grown < 300e6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("image_encoder.blocks.1.attn.k.weight"), "attn.k.weight"),
        (lambda s: s.pop("image_encoder.blocks.1.attn.v.bias"), "attn.v.bias"),
        (lambda s: s.pop("image_encoder.blocks.1.attn.q.bias"), "qkv.bias"),
        (lambda s: s.update({"image_encoder.blocks.1.attn.k.weight": torch.zeros(5, DIM)}), "(5, 24)"),
        (lambda s: s.update({"image_encoder.blocks.1.attn.q.bias": torch.zeros(())}), "attn.q"),
        (lambda s: s.update({"image_encoder.blocks.1.attn.qkv.bias": torch.zeros(84)}), "no image_encoder"),
        (lambda s: s.update({"image_encoder.blocks.1.attn.rel_pos_h": torch.zeros(39, 3)}), "blocks.1.attn"),
        (lambda s: s.update({"image_encoder.blocks.1.extra": torch.zeros(3)}), "blocks.1.extra"),
        (lambda s: s.pop("mask_decoder.iou_token.weight"), "iou_token"),
    ],
)
def test_split_state_dicts_that_do_not_fit(tmp_path, change, message):
    state = slim_sam().state_dict()
    change(state)
    torch.save(state, tmp_path / "m.pth")
    refused(tmp_path / "m.pth", message)


@pytest.mark.parametrize(
    "scale", [0.0, -0.5, float("nan"), float("inf"), 1e-300, "0.5", "\n", pytest.param(10**5000, id="long"), (0.5,)]
)
def test_scales_that_are_none(tmp_path, scale):
    model = slim_sam()
    model.image_encoder.blocks[1].attn.scale = scale
    refused(saved(model, tmp_path / "m.pth"), "attention of block 1", "expected a head width")


def test_the_buffers_that_a_state_dict_leaves_out_count_where_they_are_there(tmp_path):
    state = slim_sam().state_dict() | {"pixel_mean": torch.zeros(3, 1, 1), "pixel_std": torch.ones(3, 1, 1)}
    torch.save(state, tmp_path / "m.pth")
    found = load_checkpoint(tmp_path / "m.pth")
    assert (found.pixel_mean.flatten().tolist(), found.pixel_std.flatten().tolist()) == ([0.0] * 3, [1.0] * 3)


def test_the_bound_method_leads_back_to_its_module(file):
    encoder = read_file(Path(file)).state["_modules"]["image_encoder"].state["_modules"]["module"]
    assert encoder.path == f"{PACKAGE}.modeling.image_encoder.ImageEncoderViT"
    assert encoder.state["forward"].path == "builtins.getattr"
    assert encoder.state["forward"].args == (encoder, "forward")
