"""Low-rank adapters in a checkpoint: merged, or refused by what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from samlet.checkpoints import load_checkpoint
from samlet.errors import CheckpointError
from samlet.models import Sam
from tests.checkpoints.test_fine_tunes import plain_vit, same

RANK, ALPHA = 3, 12
LAYERS = ("image_encoder.blocks.0.attn.qkv", "image_encoder.blocks.1.attn.qkv")
MLP = "image_encoder.blocks.0.mlp.lin1"


@pytest.fixture(scope="module")
def sam() -> Sam:
    return plain_vit()


def matrices(sam: Sam, layers: tuple[str, ...], outputs: int | None = None) -> dict[str, tuple[Tensor, Tensor]]:
    """A and B of every layer, random."""
    torch.manual_seed(0)
    shapes = {layer: sam.get_submodule(layer).weight.shape for layer in layers}
    return {n: (torch.randn(RANK, i) * 0.1, torch.randn(outputs or o, RANK) * 0.1) for n, (o, i) in shapes.items()}


def adapted(sam: Sam, added: dict[str, Tensor | None]) -> Tensor:
    """The embedding of a model whose layers add a product to their answer, as a program with adapters computes it."""
    hooks = [
        sam.get_submodule(name).register_forward_hook(lambda _, x, y, matrix=matrix: y + x[0] @ matrix.T)
        for name, matrix in added.items()
    ]
    try:
        torch.manual_seed(1)
        with torch.inference_mode():
            return sam.encode(torch.randn(1, 3, 64, 64))
    finally:
        for hook in hooks:
            hook.remove()


def peft(sam: Sam) -> tuple[dict[str, Tensor], dict[str, tuple[Tensor, Tensor]]]:
    made = matrices(sam, (*LAYERS, MLP))
    names = {}
    for name, value in sam.state_dict().items():
        layer, _, last = name.rpartition(".")
        names[f"base_model.model.{layer}.base_layer.{last}" if layer in made else f"base_model.model.{name}"] = value
    for layer, (a, b) in made.items():
        names[f"base_model.model.{layer}.lora_A.default.weight"] = a
        names[f"base_model.model.{layer}.lora_B.default.weight"] = b
    return {name: value.clone() for name, value in names.items()}, made


def written(folder: Path, tensors: dict[str, Tensor], where: str, said: dict) -> Path:
    path = folder / ("x.pth" if where == "inside" else "x.safetensors")
    if where == "beside":
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": RANK, **said}))
    if where == "inside":
        torch.save({"state_dict": tensors, "lora_config": {"r": RANK, **said}}, path)
    else:
        save_file(tensors, path, {key: str(value) for key, value in said.items()} if where == "metadata" else None)
    return path


@pytest.mark.parametrize("where", ["inside", "beside", "metadata"])
def test_peft_is_merged(sam, tmp_path, where, capsys):
    tensors, made = peft(sam)
    found = load_checkpoint(written(tmp_path, tensors, where, {"lora_alpha": ALPHA}))
    expected = adapted(sam, {layer: b @ a * ALPHA / RANK for layer, (a, b) in made.items()})
    torch.testing.assert_close(adapted(found, {}), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(adapted(sam, {}), expected, atol=1e-2)
    assert "rank 3, lora_alpha 12" in capsys.readouterr().err
    assert any("LoRA" in said for said in found.read_remarks)


def test_rank_stabilised_scale(sam, tmp_path):
    tensors, made = peft(sam)
    found = load_checkpoint(written(tmp_path, tensors, "beside", {"lora_alpha": ALPHA, "use_rslora": True}))
    expected = adapted(sam, {layer: b @ a * ALPHA / RANK**0.5 for layer, (a, b) in made.items()})
    torch.testing.assert_close(adapted(found, {}), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("own", "names"), [("qkv", "linear_{}_{}"), ("qkv_proj", "w_{}_linear_{}")])
def test_q_and_v_of_programs_around_sam(sam, tmp_path, own, names):
    q, v = matrices(sam, LAYERS, 32), matrices(sam, LAYERS[::-1], 32)
    tensors, added = {}, {}
    for name, value in sam.state_dict().items():
        layer, _, last = name.rpartition(".")
        tensors[f"{layer}.{own}.{last}" if layer in q else name] = value.clone()
    for layer in LAYERS:
        for part, (a, b) in (("q", q[layer]), ("v", v[layer])):
            tensors[f"{layer}.{names.format('a', part)}.weight"] = a
            tensors[f"{layer}.{names.format('b', part)}.weight"] = b
        zeros = torch.zeros(32, 32)
        added[layer] = torch.cat([q[layer][1] @ q[layer][0], zeros, v[layer][1] @ v[layer][0]])
    torch.save(tensors, tmp_path / "x.pth")
    found = load_checkpoint(tmp_path / "x.pth")
    torch.testing.assert_close(adapted(found, {}), adapted(sam, added), rtol=1e-4, atol=1e-4)


def test_modules_saved_whole_take_the_place_of_the_original(sam, tmp_path):
    tensors, _ = peft(sam)
    tensors = {name: value * 0 if ".lora_B." in name else value for name, value in tensors.items()}
    base = "base_model.model.mask_decoder.iou_token.weight"
    whole = tensors.pop(base)
    tensors[base.replace(".weight", ".original_module.weight")] = whole + 1
    tensors[base.replace(".weight", ".modules_to_save.default.weight")] = whole
    assert same(load_checkpoint(written(tmp_path, tensors, "inside", {"lora_alpha": 1})), sam)


def test_no_scale_no_base_no_fit(sam, tmp_path):
    tensors, _ = peft(sam)
    torch.save(tensors, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"nothing says its scale; expected lora_alpha"):
        load_checkpoint(tmp_path / "x.pth")
    only = {name: value for name, value in tensors.items() if ".lora_" in name}
    torch.save(only, tmp_path / "only.pth")
    with pytest.raises(CheckpointError, match="without the weights that they adapt"):
        load_checkpoint(tmp_path / "only.pth")
    torch.save({"w_a_000": torch.zeros(3, 32), "w_b_000": torch.zeros(32, 3)}, tmp_path / "samed.pth")
    with pytest.raises(CheckpointError, match="without the weights that they adapt"):
        load_checkpoint(tmp_path / "samed.pth")
    name = f"base_model.model.{LAYERS[0]}.lora_B.default.weight"
    path = written(tmp_path, {**tensors, name: tensors[name][:5].clone()}, "inside", {"lora_alpha": 1})
    with pytest.raises(CheckpointError, match="does not fit its weight"):
        load_checkpoint(path)
