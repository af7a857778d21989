"""What can be added from outside; the examples are the code that is tested."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest
import torch

import samlet
from samlet.cli import main
from samlet.models.encoders import ENCODERS
from samlet.slimming.config import CRITERIA, SlimConfig, criteria, losses, selections
from samlet.slimming.pipeline import run_slimming
from tests.conftest import ROOT, make_tiny, randomise

EXAMPLES = ROOT / "examples" / "extending"
QUICK = {"steps": 2, "image_size": 64, "scoring_images": 2, "recovery_images": 0, "batch_size": 2}


def example(name: str):
    found = sys.modules.get(f"example_{name}")
    if found is None:
        described = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        found = sys.modules[f"example_{name}"] = importlib.util.module_from_spec(described)
        described.loader.exec_module(found)
    return found


@pytest.fixture(scope="module", autouse=True)
def examples():
    for path in EXAMPLES.glob("*.py"):
        example(path.stem)
    yield
    criteria.unregister("largest-weight")
    selections.unregister("by-rank")
    losses.unregister("smooth")
    ENCODERS.pop("plain", None)


def widths(sam):
    return {name: value.shape for name, value in sam.image_encoder.state_dict().items()}


def test_a_criterion_is_the_one_that_runs(photo_folder):
    sam = make_tiny()
    made = run_slimming(sam, photo_folder, SlimConfig(**QUICK, importance="largest-weight"))
    group = next(g for g in sam.image_encoder.channel_groups() if g.kind == "embedding" and g.name in made.kept)
    weights = dict(sam.image_encoder.named_parameters())
    by_hand = torch.zeros(group.size)
    for member in group.members:
        weight = weights[member.parameter].detach().abs()
        index = member.index(torch.arange(group.size))
        for channel in range(group.size):
            rows = weight.index_select(member.dim, index[:, channel].flatten())
            by_hand[channel] = max(by_hand[channel], rows.max())
    expected = by_hand.argsort(descending=True, stable=True)[: len(made.kept[group.name])].sort().values
    assert torch.equal(made.kept[group.name], expected)
    recorded = made.config.to_dict()["registered"]["criterion"]
    assert recorded["module"] == "example_criterion"
    assert len(recorded["source_sha256"]) == 64
    assert "registered" not in SlimConfig().to_dict()


def test_a_selection_and_a_loss_are_those_that_run(photo_folder):
    sam = make_tiny()
    plain = run_slimming(sam, photo_folder, SlimConfig(**QUICK))
    other = run_slimming(sam, photo_folder, SlimConfig(**QUICK, selection="by-rank"))
    assert any(not torch.equal(plain.kept[n], other.kept[n]) for n in plain.kept if n in other.kept)
    smooth = run_slimming(sam, photo_folder, SlimConfig(**QUICK, loss="smooth"))
    assert {n: s.losses[0] for n, s in smooth.stages.items()} != {n: s.losses[0] for n, s in plain.stages.items()}
    assert smooth.config.to_dict()["registered"].keys() == {"loss"}


def test_a_name_without_a_function_does_not_pass(photo_folder):
    CRITERIA["mine"] = "a sentence and no function"
    try:
        with pytest.raises(samlet.InputError, match="criterion 'mine' is unknown"):
            run_slimming(make_tiny(), photo_folder, SlimConfig(**QUICK, importance="mine"))
    finally:
        del CRITERIA["mine"]
    with pytest.raises(samlet.InputError, match="importance 'nothing' is unknown; expected one of disturbed-taylor"):
        SlimConfig(importance="nothing")


def test_names_that_cannot_be():
    with pytest.raises(samlet.InputError, match="cannot be called 'My Own'"):
        samlet.register_criterion("My Own")(lambda _: {})
    with pytest.raises(samlet.InputError, match="'magnitude' is there already"):
        samlet.register_criterion("magnitude")(lambda _: {})
    samlet.register_criterion("empty")(lambda _: {})
    try:
        assert SlimConfig(importance="empty").importance == "empty"
    finally:
        criteria.unregister("empty")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda _: {}, "criterion faulty has no scores of"),
        (
            lambda given: {g.name: torch.ones(3) for g in given.groups},
            r"of the shape \(3,\), and the group has \d+ chan",
        ),
        (lambda given: {g.name: torch.full((g.size,), torch.nan) for g in given.groups}, "that are NaN; expected one"),
    ],
    ids=["nothing", "too few", "NaN"],
)
def test_a_criterion_that_answers_no_scores_is_told_so(photo_folder, answer, said):
    samlet.register_criterion("faulty")(answer)
    try:
        with pytest.raises(samlet.InputError, match=said):
            run_slimming(make_tiny(), photo_folder, SlimConfig(**QUICK, importance="faulty"))
    finally:
        criteria.unregister("faulty")


def test_an_encoder_from_outside_is_slimmed_saved_and_loaded(photo_folder, tmp_path):
    sam = example("encoder").model()
    randomise(sam)
    small = samlet.slim(sam, photo_folder, **QUICK)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in sam.parameters())
    samlet.save(small, tmp_path / "small")
    again = samlet.load(tmp_path / "small")
    assert widths(again) == widths(small)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(again.encode(image), small.encode(image))


def test_a_protocol_from_outside(tmp_path):
    import numpy as np
    from PIL import Image

    from samlet.data.masks import encode_rle

    mask = np.zeros((64, 64), bool)
    mask[10:40, 20:50] = True
    Image.fromarray((mask[..., None] * np.array([200, 50, 50])).astype(np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.json").write_text(json.dumps({"annotations": [{"segmentation": encode_rle(mask)}]}))
    sam = make_tiny()
    found = samlet.evaluate(sam, tmp_path, "inner-box", progress=False)
    predictor = samlet.Predictor(sam)
    predictor.set_image(tmp_path / "a.png")
    answer = predictor.predict(boxes=[27.5, 17.5, 42.5, 32.5], multimask=False).masks[0, 0]
    assert found.miou["single"] == pytest.approx((answer & mask).sum() / (answer | mask).sum())
    assert "half the object's width" in found.protocol


def test_the_command_line_takes_plugins():
    environment = {**os.environ, "SAMLET_PLUGINS": "criterion", "PYTHONPATH": f"{EXAMPLES}:{ROOT / 'src'}"}
    command = [sys.executable, "-m", "samlet", "slim", "--help"]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert "largest-weight: |w| of the largest" in " ".join(shown.split())
    wrong = {**environment, "SAMLET_PLUGINS": "nothing_here"}
    done = subprocess.run(command, env=wrong, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("samlet: the plugin nothing_here cannot be imported: ModuleNotFoundError")
    assert done.stderr.count("\n") == 1


def test_an_unknown_criterion_is_one_line(photo_folder, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["slim", "--teacher", "mobile_sam", "--images", str(photo_folder), "--importance", "x", "--out", "y"])
    assert stopped.value.code == 2
    assert "invalid choice: 'x'" in capsys.readouterr().err
