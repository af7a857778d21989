"""The report of a run: pictures that show something, and text that says how the model was made."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samlet.models import TinyViTConfig, ViTConfig
from samlet.reporting.plots import smoothed, write_figure
from samlet.runs.folder import RunFolder
from samlet.slimming import report
from samlet.slimming.config import SlimConfig
from samlet.slimming.pipeline import run_slimming
from samlet.slimming.plots import panels, widths_figure

TINY = {"steps": 4, "image_size": 64, "scoring_images": 2, "recovery_images": 2, "batch_size": 2, "micro_batch": 2}


def check_picture(path, width=800, height=300):
    with Image.open(path) as opened:
        picture = np.asarray(opened.convert("RGB"))
    assert picture.shape[1] >= width
    assert picture.shape[0] >= height
    assert len(np.unique(picture @ [1, 256, 65536])) > 20
    assert 0.02 < (picture < 250).any(axis=2).mean() < 0.99


def test_report_and_pictures(small_sam, photo_folder, tmp_path):
    (photo_folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    out = tmp_path / "out"
    made = run_slimming(small_sam, photo_folder, SlimConfig(**TINY), workspace=RunFolder(out))
    figures = report.measure(made)
    report.write(made, figures, out)
    text = (out / "report.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert set(links) == {"comparison.png", "losses.png", "widths.png"}
    check_picture(out / "losses.png")
    check_picture(out / "widths.png")
    check_picture(out / "comparison.png", height=100)
    assert {p.name for p in out.iterdir()} == {*links, "report.md", "run"}
    for words in (
        "disturbed-taylor", "gaussian", "whole heads", "2 photographs",
        "least squares on 2 photographs", "relative", "cosine", "fp32",
        "**processes** 1", "alternate", "images a second",
    ):  # fmt: skip
        assert words in text, words
    for stage, result in made.stages.items():
        assert f"| {stage} | 2 | {result.losses[0]:.5g} | {result.losses[-1]:.5g} |" in text
        assert f"{result.validation['error']:.4f} |" in text
        assert f"{result.validation['agreement']:.3f} |" in text
    for path in made.skipped:
        assert f"- {path.name}\n" in text
    assert str(tmp_path) not in text
    found = json.loads(json.dumps([report.to_json(made, figures), report.provenance(made, "teacher", "photographs")]))
    assert found[0]["agreement"].keys() == {"pruned", "aligned", "protocol", "images", "masks"}
    assert found[1]["recipe"] == made.config.to_dict()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "SlimSAM: embedding pruning, bottleneck aligning, bottleneck pruning, embedding aligning"),
        ({"procedure": "one-step"}, "one-step"),
        ({"stage": "first"}, "first half"),
        ({"stage": "second"}, "second half"),
        ({"stage": "align"}, "nothing pruned"),
    ],
)
def test_method_is_that_of_the_settings(settings, words):
    made: Any = SimpleNamespace(
        config=SlimConfig(**settings, steps=6, recovery_images=8),
        processes=2,
        image_size=512,
        refitted_on=32,
        available=21,
        minutes=4.0,
        steps=6,
    )
    assert words in report.method(made)
    found = report.settings(made)
    assert found["stage"].startswith(settings.get("stage", "all"))
    assert found["processes"] == "2"
    assert "`--steps 6 --recovery-images 8` in place of `--minutes 4`" in found["budget of time"]
    assert found.get("scoring", "21 photographs") == "21 photographs"
    assert ("importance" in found) == (settings.get("stage") != "align")
    assert found.get("recovery", "on 32 photographs").count("on 32 photographs") == 1


def test_panels_hold_every_width():
    tiny = TinyViTConfig()
    streams, values, queries, hidden = panels(tiny).values()
    assert streams == {"stage 0": 64, "stage 1": 128, "stage 2": 160, "stage 3": 320}
    assert list(values) == list(queries) == ["1.0", "1.1", *(f"2.{i}" for i in range(6)), "3.0", "3.1"]
    assert values["2.0"] == 5 * 32
    assert hidden["stem"] == 32
    assert hidden["mbconv 1"] == 256
    assert hidden["merge 2"] == hidden["3.1"] / 4 == 320
    vit = ViTConfig.uniform(embed_dim=768, depth=12, num_heads=12, global_blocks=(2,))
    streams, values, _, hidden = panels(vit).values()
    assert streams == {"all blocks": 768}
    assert values == {str(i): 768 for i in range(12)}
    assert hidden == {str(i): 3072 for i in range(12)}


def test_widths_of_other_families_are_shown_alone(tmp_path):
    vit = ViTConfig.uniform(embed_dim=768, depth=12, num_heads=12, global_blocks=(7,))
    for name, teacher in (("same", vit), ("other", TinyViTConfig())):
        write_figure(widths_figure(teacher, vit), tmp_path / f"{name}.png")
        check_picture(tmp_path / f"{name}.png")


def test_smoothing_keeps_what_is_constant_and_the_length():
    assert np.allclose(smoothed([3.0] * 7, 4), 3)
    assert np.allclose(smoothed([0.0, 3.0, 6.0], 3), [1.5, 3, 4.5])


def test_pictures_cost_nothing_until_they_are_drawn():
    code = "import sys, samlet, samlet.slimming.report; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
