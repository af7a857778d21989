"""What the README shows works as it stands."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from typing import Any

import pytest

import samlet
from samlet.cli.parsers import build_parser
from samlet.data.images import read_image
from tests.conftest import PHOTOS, ROOT, make_tiny

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    code = "\n".join(blocks("python"))
    lenient = "image_size=256, points_per_side=8, pred_iou_thresh=0.6, stability_score_thresh=0.7"
    for shown, smaller in (
        ("steps=200", "steps=2, scoring_images=2, recovery_images=2"),
        ("image_size=512", "image_size=64"),
        ("Predictor(sam)", "Predictor(sam, image_size=256)"),
        ('strategy="hierarchical"', f'strategy="hierarchical", {lenient}'),
    ):
        assert shown in code
        code = code.replace(shown, smaller)
    photos = tmp_path / "examples" / "photos"
    photos.mkdir(parents=True)
    for name in ("dogs.jpg", "cat.jpg", "bee.jpg"):
        shutil.copy(PHOTOS / name, photos)
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(code, found)
    height, width = read_image(photos / "dogs.jpg").shape[:2]
    assert capsys.readouterr().out.startswith(f"(2, 3, {height}, {width})")
    assert found["refined"].masks.shape == (1, 1, height, width)
    assert len(found["masks"]) > 2
    assert samlet.load("small").fingerprint() == found["small"].fingerprint()
    macs = [samlet.cost(sam, measure=False).encoder.macs_modules for sam in (found["small"], found["sam"])]
    assert 0.2 < macs[0] / macs[1] < 0.6


EXAMPLES = [
    pytest.param(path.name, number, marks=() if path.name == "labelling.md" else pytest.mark.slow)
    for path in sorted((ROOT / "docs").glob("*.md"))
    for number in range(path.read_text(encoding="utf-8").count("```python"))
]


@pytest.mark.parametrize(("document", "number"), EXAMPLES)
def test_every_example_in_the_docs_runs_as_a_script(document, number, tmp_path):
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[number]
    samlet.save(make_tiny(), tmp_path / "model")
    code = code.replace('load("mobile_sam")', 'load("./model")')  # the same in a fraction of the time
    for folder in ("photos", "examples/photos"):
        (tmp_path / folder).mkdir(parents=True)
        for name in ("dogs.jpg", "cat.jpg"):
            shutil.copy(PHOTOS / name, tmp_path / folder)
    if "quantize" in code:
        for number in range(8):
            shutil.copy(PHOTOS / "cat.jpg", tmp_path / "photos" / f"{number}.jpg")
    (tmp_path / "script.py").write_text(code)
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT / "src")}
    run = [sys.executable, "script.py"]
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def commands(text: str) -> list[list[str]]:
    """The `samlet` commands in a document's bash blocks, as lists of words."""
    lines = "\n".join(re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)).replace("\\\n", " ").splitlines()
    found = [shlex.split(line, comments=True) for line in lines if line.startswith("samlet ")]
    return [words[1:] for words in found]


@pytest.mark.parametrize("document", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_every_command_parses(document):
    found = commands((ROOT / document).read_text(encoding="utf-8"))
    assert found
    for words in found:
        options = build_parser().parse_args(words)
        if getattr(options, "then", None):
            given = ["--teacher", "m", "--student", "m", "--data", "d", "--out", "o"]
            build_parser().parse_args([*shlex.split(options.then), *given])


def test_files_that_the_readme_links_exist():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_tables_are_those_of_the_committed_results():
    script = [sys.executable, str(ROOT / "scripts" / "update_docs.py"), "--check"]
    assert subprocess.run(script, check=False).returncode == 0, "run scripts/update_docs.py"
