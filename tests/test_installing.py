"""What a package index and a first install see."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib

import pytest

import samlet
from samlet.cli import main
from samlet.runs.extras import need_training
from tests.conftest import PHOTOS, ROOT

ABOUT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TRAINING = ("lightning_fabric", "tensorboardX")


@pytest.fixture(scope="module")
def absolute_links():
    spec = importlib.util.spec_from_file_location("samlet_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.absolute_links


def links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)]+)\)", text)


def test_links_of_the_readme_work_on_a_package_index(absolute_links):
    repository = "https://example.org/someone/samlet"
    made = absolute_links(README, repository)
    assert len(links(made)) == len(links(README)) > 20
    assert all(link.startswith(("https://", "#")) for link in links(made))
    assert f"]({repository}/blob/main/docs/how-to/masks.md)" in made
    assert f"]({repository}/raw/main/docs/hero.jpg)" in made


def test_without_an_address_the_readme_has_no_links_that_lead_nowhere(absolute_links):
    made = absolute_links(README, None)
    assert all(link.startswith(("https://", "#")) for link in links(made))
    assert "masks for clicks and boxes" in made
    assert "hero.jpg" not in made
    assert "The same clicks and boxes" in README
    assert "The same clicks and boxes" not in made
    assert "\n\n\n" not in made
    assert len(made.splitlines()) > 0.9 * len(README.splitlines())


def test_the_extras_hold_together():
    extras = ABOUT["optional-dependencies"]
    (whole,) = extras["all"]
    assert set(re.findall(r"\w+", whole)) - {"samlet"} == set(extras) - {
        "all",
        "docs",
        "test",
        "onnx",
        "openvino",
        "executorch",
    }
    for name in ("onnx", "openvino"):  # which `export` brings
        assert {re.match(r"[\w-]+", one)[0] for one in extras[name]} <= {
            re.match(r"[\w-]+", one)[0] for one in extras["export"]
        }
    torch = next(one for one in ABOUT["dependencies"] if one.startswith("torch"))
    assert "<" in torch
    assert all(not one.lower().startswith(("lightning", "tensorboard", "lvis")) for one in ABOUT["dependencies"])


INFERENCE = f"""
import sys
for name in ("lightning_fabric", "tensorboardX", "huggingface_hub", "matplotlib"):
    sys.modules[name] = None  # as if it were not installed
import samlet
from samlet.cli import main
predictor = samlet.Predictor(samlet.load("mobile_sam"), image_size=256)
predictor.set_image({str(PHOTOS / "cat.jpg")!r})
assert predictor.predict(points=[[50, 50]]).masks.any()
print(main(["models", "--json"]), main(["cost", "mobile_sam", "--no-measure"]))
"""


def test_inference_needs_no_extra_and_loads_no_plots():
    done = subprocess.run([sys.executable, "-c", INFERENCE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("0 0")


@pytest.mark.parametrize("missing", [TRAINING, TRAINING[:1], TRAINING[1:]])
def test_without_the_extra_training_says_what_to_install(missing, monkeypatch, tmp_path, capsys):
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    packages = " and ".join(name.replace("_", "-") for name in missing)
    told = rf"needs {packages}, not installed here; run: pip install 'samlet\[train\]'"
    with pytest.raises(samlet.InputError, match=told):
        need_training()
    out = str(tmp_path / "out")
    for words in (
        ["slim", "--teacher", "mobile_sam", "--images", str(PHOTOS), "--steps", "2", "--out", out],
        ["distill", "--teacher", "mobile_sam", "--student", "mobile_sam", "--data", str(PHOTOS), "--out", out],
        ["demo", "--out", out],
    ):
        assert main(words) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("samlet: ")]
        assert re.search(told, line), line
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(samlet.InputError, match=told):
        samlet.slim("mobile_sam", PHOTOS, steps=2)
