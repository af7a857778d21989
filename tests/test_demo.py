"""The demo: a mask, a small model and a page that needs nothing but itself."""

from __future__ import annotations

import base64
import io
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

import samlet
from samlet.cli import main
from samlet.cli.parsers import build_parser
from samlet.data.bundled import CLICKS, bundled_photographs
from samlet.demo import small_encoder
from samlet.slimming.surgery import config_with, widths_like
from samlet.slimming.widths import WidthCost
from samlet.zoo import load_weights
from tests.conftest import PHOTOS, make_tiny


class Page(HTMLParser):
    """What stands in a page: its pictures, its text, and every address that it names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.pictures: list[tuple[str, Image.Image]] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.cells: list[str] = []
        self.commands: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.addresses += [given[name] for name in ("src", "href", "srcset", "action", "data") if given.get(name)]
        if tag == "img":
            kind, _, code = given["src"].partition(";base64,")
            picture = Image.open(io.BytesIO(base64.b64decode(code)))
            picture.load()
            assert kind == f"data:image/{picture.format.lower()}"
            self.pictures.append((given["alt"], picture))
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data)
        if self.open and self.open[-1] == "pre":
            self.commands.append(data)


TINY = make_tiny().image_encoder
SMALL = config_with(TINY, {g.name: g.size // 2 for g in TINY.channel_groups() if g.kind != "head"})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One demo of a tiny model: its folder, and the JSON that the command printed."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("samlet.demo.load_weights", lambda _: make_tiny())
        patched.setattr("samlet.slimming.folder.named_weights", lambda *_: (make_tiny(), "mobile_sam"))
        patched.setattr("samlet.demo.small_encoder", lambda: SMALL)
        arguments = ["demo", "--minutes", "0.05", "--image-size", "64", "--out", str(folder), "--json"]
        folder.mkdir()
        (folder / "index.html").write_text("an earlier demo")
        assert main(arguments) == 2
        assert (folder / "index.html").read_text() == "an earlier demo"
        printed = io.StringIO()
        patched.setattr("sys.stdout", printed)
        assert main([*arguments, "--overwrite"]) == 0
    found = json.loads(printed.getvalue())
    return folder, found, Page((folder / "index.html").read_text(encoding="utf-8"))


def test_the_json_is_the_contracts(made):
    folder, found, _ = made
    assert found.keys() == {"segment_seconds", "slim", "page"}
    assert found["page"] == str(folder / "index.html")
    assert 0 < found["segment_seconds"] < found["segment_seconds"] + found["slim"]["seconds"]
    assert {"parameters", "encoder", "teacher_encoder", "agreement", "steps", "seconds"} <= found["slim"].keys()
    assert {path.name for path in folder.iterdir()} == {"index.html", "photo.jpg", "segmented.jpg", "small"}
    saved = samlet.load(folder / "small")
    assert sum(p.numel() for p in saved.parameters()) == found["slim"]["parameters"]


def test_the_page_needs_no_network_and_closes_what_it_opens(made):
    _, _, page = made
    assert page.open == []
    assert page.addresses
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert not any("http" in word for word in page.words)


def test_every_click_is_a_row_of_teacher_cut_and_small(made):
    folder, _, page = made
    held_out = json.loads((folder / "small" / "provenance.json").read_text())["data"]["held_out"]
    captions = [caption for caption, _ in page.pictures[:-2]]
    clicks = sum(len(CLICKS[name]) for name in held_out)
    assert len(captions) == 3 * clicks
    assert captions[::3] == ["teacher"] * clicks
    assert all(caption.startswith("cut: IoU ") for caption in captions[1::3])
    assert all(caption.startswith("small: IoU ") for caption in captions[2::3])
    for row in range(clicks):
        shapes = {np.asarray(picture).shape for _, picture in page.pictures[3 * row : 3 * row + 3]}
        assert len(shapes) == 1


def test_the_table_has_the_figures_of_the_run(made):
    _, found, page = made
    slim, cells = found["slim"], page.cells
    assert f"{slim['agreement']['aligned']:.3f}" in cells
    assert f"{slim['agreement']['pruned']:.3f}" in cells
    assert f"{slim['teacher_encoder']['macs_modules'] / 1e9:.1f} G" in cells
    assert f"{4 * slim['parameters'] / 1e6:.1f} MB" in cells
    assert any(f"{slim['steps']} steps" in word for word in page.words)


def test_the_commands_to_go_on_with_work(made, tmp_path, capsys):
    folder, _, page = made
    assert len(page.commands) == 3
    for command in page.commands:
        words = command.split()
        assert words[0] == "samlet"
        build_parser().parse_args(words[1:])
    segment = page.commands[0].split()[1:]
    segment[segment.index("--out") + 1] = str(tmp_path / "masks")
    assert main([*segment, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["masks"]
    assert (folder / "photo.jpg").read_bytes() == (PHOTOS / "dogs.jpg").read_bytes()


def test_what_is_no_demo_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    for extra in ([], ["--overwrite"]):
        assert main(["demo", "--out", str(tmp_path), *extra]) == 2
        assert "already holds thesis.txt" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_clicks_lie_on_the_bundled_photographs():
    paths = bundled_photographs()
    assert {path.name for path in paths} == CLICKS.keys()
    for path in paths:
        with Image.open(path) as photograph:
            assert all(0 < x < photograph.width and 0 < y < photograph.height for x, y in CLICKS[path.name])
    origins = (paths[0].parent / "ORIGINS.md").read_text(encoding="utf-8")
    assert all(f"`{path.name}`" in origins for path in paths)


def test_the_small_encoder_is_one_of_the_teacher_at_a_third_of_its_cost():
    teacher = load_weights("mobile_sam").image_encoder
    cost = WidthCost(teacher, 1024)
    assert 0.3 < cost.macs(widths_like(teacher, small_encoder())) / cost.macs({}) < 0.32
