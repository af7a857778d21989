"""ExecuTorch programs of small models, really written and really run."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

import samlet
from samlet.errors import InputError, SamletError
from samlet.export import executorch_programs as phone
from samlet.export.executorch import to_executorch
from samlet.export.graphs import EncoderGraph
from samlet.export.pipeline import export_model
from samlet.export.verification import sqnr
from samlet.models import Sam, SamConfig, TinyViTConfig, ViTConfig
from samlet.models.config import DecoderConfig, EncoderConfig
from samlet.models.encoders.repvit.config import RepViTConfig
from tests.conftest import PHOTOS, randomise

CHANNELS = 64

CONFIGS: dict[str, EncoderConfig] = {  # few operators: writing takes a second for every dozen
    "tiny_vit": TinyViTConfig(
        image_size=128,
        stem_dim=8,
        embed_dims=(16, 16, 24, 32),
        mbconv_dims=(24,),
        merge_dims=(24, 24, 32),
        num_heads=((2,), (), ()),
        qk_dims=((8,), (), ()),
        v_dims=((12,), (), ()),
        mlp_dims=((256,), (), ()),
        scale_dim=8,
        window_sizes=(3, 4, 3),
        out_channels=CHANNELS,
    ),
    "vit": ViTConfig(
        image_size=128,
        embed_dim=32,
        num_heads=(2, 3),
        qk_dims=(16, 10),
        v_dims=(16, 14),
        mlp_dims=(48, 40),
        scale_dim=16,
        window_size=3,
        global_blocks=(1,),
        out_channels=CHANNELS,
    ),
    "repvit": RepViTConfig(
        image_size=128,
        stem_dim=16,
        embed_dims=(16, 24, 32, 40),
        mixer_dims=((32,), (48,), (64,), (80,)),
        squeeze_dims=((16,), (0,), (0,), (0,)),
        out_channels=CHANNELS,
    ),
}
SIZE, GRID, PROMPTS, POINTS = 64, 4, 3, 3
GOOD, ROUNDED = 80.0, 12.0  # dB; attention with random weights is sharp


@pytest.fixture(scope="module")
def runtime() -> Any:
    reason = "executorch is not installed, or not for this torch"
    pytest.importorskip("executorch.exir", reason=reason, exc_type=ImportError)
    return pytest.importorskip("executorch.runtime", reason=reason, exc_type=ImportError).Runtime.get()


def run(runtime, path, inputs):
    """Outputs of a program, which takes its inputs to be contiguous."""
    method = runtime.load_program(path).load_method("forward")
    return method.execute([values.contiguous() for values in inputs])


def images(count):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(count, 3, 8, 8, generator=generator)
    found = nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic")
    return [(image[None].contiguous(memory_format=torch.channels_last),) for image in found]


def model(name="tiny_vit"):
    decoder = DecoderConfig(depth=1, num_heads=2, mlp_dim=96, num_multimask_outputs=1, iou_head_depth=2)
    torch.manual_seed(0)
    sam = Sam(SamConfig(encoder=CONFIGS[name], decoder=decoder))
    randomise(sam)
    return sam.eval()


@pytest.fixture(scope="module")
def whole(runtime, tmp_path_factory):  # noqa: ARG001
    """A model, what an export of it agreed in, its folder, and what became of its encoder's operators."""
    folder, sam = tmp_path_factory.mktemp("whole"), model("repvit")
    (folder / "pictures").mkdir()
    Image.open(PHOTOS / "cat.jpg").resize((90, 60)).save(folder / "pictures" / "cat.png")
    lowered = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phone, "to_executorch", lambda *given: lowered.append(to_executorch(*given)))
        made = export_model(
            sam,
            folder / "out",
            "executorch",
            image_size=SIZE,
            prompts=PROMPTS,
            points=POINTS,
            images=folder / "pictures",
        )
    return sam, made.figures, folder / "out", lowered[0]


def assert_delegated(lowered):
    assert lowered.delegated["convolution"] > 0
    assert set(lowered.portable) <= {"native_layer_norm", "unsqueeze_copy"}
    assert lowered.int8 == lowered.kept_float == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny_vit", "vit"])
def test_encoders_agree_with_torch(runtime, tmp_path, name):
    module, (example, other) = EncoderGraph(model(name)), images(2)
    made = to_executorch(module, example, tmp_path / "encoder.pte")
    with torch.no_grad():
        (expected,) = module(*other)
    (found,) = run(runtime, tmp_path / "encoder.pte", other)
    assert found.shape == expected.shape
    assert sqnr(found, expected) > GOOD
    assert [entry.name for entry in tmp_path.iterdir()] == ["encoder.pte"]
    assert_delegated(made)


@pytest.mark.slow
def test_a_whole_model_runs_as_any_other(whole):
    sam, figures, folder, lowered = whole
    assert figures.agreement > 0.999
    assert_delegated(lowered)
    exported = samlet.load(folder)
    (image,) = images(1)[0]
    with torch.no_grad():
        embedding = sam.encode(image)
        assert sqnr(exported.encode(image), embedding) > GOOD
    predictors = [samlet.Predictor(one, SIZE) for one in (exported, sam)]
    for predictor in predictors:
        predictor.set_image(PHOTOS / "cat.jpg")
    found, expected = (one.predict(points=[[[99, 80]]] * 4, multimask=False) for one in predictors)
    assert (found.masks == expected.masks).mean() > 0.999
    with pytest.raises(InputError, match="64"):
        exported.check_image_size(128)


@pytest.mark.slow
def test_the_decoder_agrees_with_the_model(whole):
    """Boxes, padding and masks are inputs, so one program answers them all; there may be more prompts than it takes."""
    sam, _, folder, _ = whole
    exported, generator = samlet.load(folder), torch.Generator().manual_seed(0)
    embedding = torch.randn(1, CHANNELS, GRID, GRID, generator=generator)
    points = torch.rand(4, 2, 2, generator=generator) * SIZE
    labels = torch.tensor([[1, 0], [1, -2], [0, 1], [1, 1]])
    boxes = torch.tensor([[4.0, 5.0, 40.0, 50.0]]).repeat(4, 1) + torch.arange(4)[:, None]
    mask = torch.randn(1, 1, 4 * GRID, 4 * GRID, generator=generator)
    for asked in (
        {"points": points, "labels": labels},
        {"boxes": boxes},
        {"points": points[:, :1], "labels": labels[:, :1], "boxes": boxes},
        {"points": points[:1], "labels": labels[:1], "masks": mask},
    ):
        found = exported.decode(embedding, **asked)
        with torch.no_grad():
            expected = sam.decode(embedding, **asked)
        assert sqnr(found.low_res, expected.low_res) > GOOD, asked.keys()
        assert sqnr(found.iou, expected.iou) > GOOD, asked.keys()


@pytest.mark.slow
def test_int8_is_smaller_and_close(runtime, tmp_path, monkeypatch):
    monkeypatch.setattr("samlet.export.executorch_int8._LEAST_SQNR", 30.0)  # random weights lose more than trained ones
    module, photographs = EncoderGraph(model()), images(3)
    weights = {name: (value.clone(), value.stride()) for name, value in module.state_dict().items()}
    made = to_executorch(module, photographs[0], tmp_path / "int8.pte", int8_images=photographs[:2])
    with torch.no_grad():
        (expected,) = module(*photographs[2])
    (found,) = run(runtime, tmp_path / "int8.pte", photographs[2])
    assert ROUNDED < sqnr(found, expected) < GOOD
    assert (tmp_path / "int8.pte").stat().st_size < 0.7 * 4 * sum(value.numel() for value, _ in weights.values())
    linear = {name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)}
    assert linear <= set(made.int8)
    assert made.delegated["choose_qparams"] == len(made.int8)
    assert set(made.int8) - linear == {"image_encoder.neck.2"}  # the one large convolution
    assert all(torch.equal(value, weights[name][0]) for name, value in module.state_dict().items())
    assert all(value.stride() == weights[name][1] for name, value in module.state_dict().items())


@pytest.mark.slow
def test_convolutions_that_lose_too_much_stay_float(runtime, tmp_path, monkeypatch):
    monkeypatch.setattr("samlet.export.executorch_int8._LEAST_SQNR", 200.0)
    module = nn.Sequential(nn.Conv2d(3, 64, 9, stride=8, padding=4), nn.Conv2d(64, 64, 3, padding=1), nn.GELU())
    (given,) = images(1)
    made = to_executorch(module, given, tmp_path / "model.pte", int8_images=[given])
    assert (made.int8, made.kept_float) == ((), ("1",))
    with torch.no_grad():
        assert sqnr(run(runtime, tmp_path / "model.pte", given)[0], module(*given)) > GOOD


@pytest.mark.slow
@pytest.mark.usefixtures("runtime")
def test_what_cannot_be_written_leaves_no_file(tmp_path):
    class Depends(nn.Module):
        def forward(self, x):
            return x.nonzero() if x.sum() > 0 else x

    with pytest.raises(SamletError, match=r"model\.pte cannot be written as an ExecuTorch program: "):
        to_executorch(Depends(), images(1)[0], tmp_path / "model.pte")
    assert not list(tmp_path.iterdir())


def test_int8_wants_inputs(tmp_path):
    with pytest.raises(InputError, match="at least one photograph"):
        to_executorch(nn.GELU(), images(1)[0], tmp_path / "model.pte", int8_images=[])


def test_executorch_may_be_missing(tmp_path, monkeypatch):
    for name in ("executorch", "executorch.exir"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=r"executorch.*pip install 'samlet\[executorch\]'"):
        to_executorch(nn.GELU(), images(1)[0], tmp_path / "model.pte")
