"""What README and docs/ show works as it stands: commands, snippets, links, tables."""

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
from samlet.cli import main
from samlet.cli.parsers import build_parser
from samlet.data.images import read_image
from tests.conftest import PHOTOS, ROOT, make_tiny
from tests.documents import DOCUMENTS, anchors, blocks, commands, links, make_world, provide, smaller, text

TUTORIALS = [document for document in DOCUMENTS if document.startswith("docs/tutorials/")]
WITH_COMMANDS = [document for document in DOCUMENTS if commands(document)]


def test_the_first_page_is_short():
    assert text("README.md").count("\n") <= 120


def test_the_first_example_runs(tmp_path, monkeypatch):
    (code,) = blocks("README.md", "python")
    assert 'Predictor("samlet_s")' in code
    make_world(tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(code.replace('Predictor("samlet_s")', 'Predictor("./model")'), {})
    assert (tmp_path / "dogs" / "overlay.png").is_file()
    assert (tmp_path / "dogs" / "masks.json").is_file()


def test_the_long_example_runs(tmp_path, monkeypatch, capsys):
    code = "\n".join(blocks("docs/how-to/masks.md", "python"))
    lenient = "image_size=256, points_per_side=8, pred_iou_thresh=0.6, stability_score_thresh=0.7"
    for shown, changed in (
        ("steps=200", "steps=2, scoring_images=2, recovery_images=2"),
        ("image_size=512", "image_size=64"),
        ("Predictor(sam)", "Predictor(sam, image_size=256)"),
        ('strategy="hierarchical"', f'strategy="hierarchical", {lenient}'),
    ):
        assert shown in code
        code = code.replace(shown, changed)
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
    pytest.param(document, number, marks=() if document.endswith("labelling.md") else pytest.mark.slow)
    for document in DOCUMENTS
    if document.startswith("docs/") and document not in (*TUTORIALS, "docs/how-to/masks.md")
    for number in range(len(blocks(document, "python")))
]


@pytest.mark.parametrize(("document", "number"), EXAMPLES)
def test_every_example_in_the_docs_runs_as_a_script(document, number, tmp_path):
    code = blocks(document, "python")[number]
    samlet.save(make_tiny(), tmp_path / "model")
    for name in ("mobile_sam", "samlet_s"):  # the same in a fraction of the time
        code = code.replace(f'load("{name}")', 'load("./model")')
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


@pytest.mark.slow
@pytest.mark.parametrize("document", TUTORIALS)
def test_every_tutorial_runs_from_its_first_line_to_its_last(document, tmp_path, monkeypatch):
    """Every command and snippet in the order of the page; only sizes and budgets are smaller."""
    make_world(tmp_path)
    monkeypatch.chdir(tmp_path)
    for number, (language, code) in enumerate(re.findall(r"```(bash|python)\n(.*?)```", text(document), re.DOTALL)):
        if language == "python":
            exec(code, {})
            continue
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            assert words[0] == "samlet", f"{line!r}: what is no command of samlet belongs into a block of sh"
            if "--serve" in words or ("executorch" in words and not _has("executorch")):
                continue
            made = smaller(words[1:])
            assert main(made) == 0, f"block {number}: samlet {shlex.join(made)}"


RUN = {
    "README.md": 1,
    "docs/how-to/masks.md": 0,
    "docs/how-to/everything.md": 0,
    "docs/how-to/labelling.md": 3,
    "docs/how-to/comparing.md": 2,
    "docs/how-to/quantizing.md": 0,
    "docs/how-to/distilling.md": 1,
}
"""Pages whose commands run here, and how many of these cannot: a server, a GPU's settings, files of others."""

_NOT_HERE = (
    "--serve",
    "--latency-table",
    "package/dist",
    "cuda",
    "--detections",
    "sam2_hiera_tiny",
    "path/to/SlimSAM-77.pth",
)


@pytest.mark.slow
@pytest.mark.parametrize(("document", "without"), RUN.items())
def test_the_commands_of_a_page_run(document, without, tmp_path, monkeypatch):
    """At a token size, in the order of the page; what a page takes for granted is made before."""
    make_world(tmp_path)
    monkeypatch.chdir(tmp_path)
    left_out = 0
    for words in commands(document):
        if set(words) & set(_NOT_HERE):
            left_out += 1
            continue
        made = smaller(words)
        provide(made, tmp_path)
        if "--out" in made and (tmp_path / made[made.index("--out") + 1]).exists():
            shutil.rmtree(tmp_path / made[made.index("--out") + 1])
        assert main(made) == 0, f"samlet {shlex.join(made)}"
    assert left_out == without


def _has(module: str) -> bool:
    try:
        __import__(module)
    except ImportError:
        return False
    return True


@pytest.mark.parametrize("document", WITH_COMMANDS)
def test_every_command_parses(document):
    for words in commands(document):
        options = build_parser().parse_args(words)
        if getattr(options, "then", None):
            given = ["--teacher", "m", "--student", "m", "--data", "d", "--out", "o"]
            build_parser().parse_args([*shlex.split(options.then), *given])


def test_pages_that_tell_what_to_do_have_commands():
    told = {document for document in DOCUMENTS if document.startswith(("docs/tutorials/", "docs/how-to/"))}
    assert {"README.md", *told} <= {*WITH_COMMANDS}


@pytest.mark.parametrize("document", [*DOCUMENTS, "CONTRIBUTING.md", "CHANGELOG.md", "recipes/README.md"])
def test_what_is_linked_exists(document):
    page = ROOT / document
    for target, anchor in links(document):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), target
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), f"{target}#{anchor}"


def test_every_page_is_reached_from_the_first():
    reached, waiting = set(), ["docs/index.md"]
    while waiting:
        document = waiting.pop()
        if document in reached:
            continue
        reached.add(document)
        for target, _ in links(document):
            path = ((ROOT / document).parent / target).resolve()
            if target.endswith(".md") and path.is_relative_to(ROOT / "docs"):
                waiting.append(str(path.relative_to(ROOT)))
    assert {document for document in DOCUMENTS if document.startswith("docs/")} <= reached


def test_the_reference_of_python_has_every_name():
    told = re.findall(r"^::: samlet\.(\w+)$", text("docs/reference/api.md"), flags=re.MULTILINE)
    assert sorted(told) == sorted(set(samlet.__all__) - {"__version__"})


def test_tables_are_those_of_the_committed_results():
    script = [sys.executable, str(ROOT / "scripts" / "update_docs.py"), "--check"]
    assert subprocess.run(script, check=False).returncode == 0, "run scripts/update_docs.py"


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    """Links, anchors and the reference of Python are checked by mkdocs itself."""
    pytest.importorskip("mkdocs", reason="mkdocs is not installed; the extra `docs` brings it")
    pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed; the extra `docs` brings it")
    site = tmp_path / "site"
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for document in DOCUMENTS:
        if document.startswith("docs/"):
            assert (site / document.removeprefix("docs/")).with_suffix(".html").is_file()
    reference = (site / "reference" / "api.html").read_text(encoding="utf-8")
    for name in set(samlet.__all__) - {"__version__"}:
        assert f'id="samlet.{name}"' in reference, name
