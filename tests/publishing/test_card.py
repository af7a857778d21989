"""The card of a model says what its provenance says, and nothing else."""

from __future__ import annotations

import json

import pytest

import samlet
from samlet.publishing.card import model_card, read_provenance
from tests.conftest import make_tiny

PROVENANCE = {
    "method": "SlimSAM",
    "parents": [{"name": "tinysam", "weights_sha256": "abc", "role": "teacher"}],
    "data": {"name": "photographs", "photographs": 12},
    "figures": {"agreement": {"aligned": 0.8125, "protocol": "point", "images": 3}},
    "versions": {"samlet": "0.1.0"},
}


@pytest.fixture(scope="module")
def sam():
    return make_tiny()


def head(card: str) -> str:
    return card.split("---\n")[1]


def test_the_card_tells_origin_figures_and_use(sam):
    card = model_card(sam, PROVENANCE, "someone/small", None)
    assert head(card).splitlines() == [
        "license: apache-2.0",
        "library_name: samlet",
        "pipeline_tag: mask-generation",
        "tags:",
        "- samlet",
        "- segment-anything",
        "- image-segmentation",
        "base_model:",
        "- xinghaochen/tinysam",
    ]
    assert "# small" in card
    assert "made from [tinysam](https://huggingface.co/xinghaochen/tinysam) by SlimSAM." in card
    assert "Mean mask IoU with its teacher 0.812 (point; 3 photographs that training never saw)" in card
    assert 'samlet.load("someone/small")' in card
    assert "- with 12 photographs of `photographs`" in card
    encoder = samlet.cost(sam, measure=False).encoder
    assert f"{encoder.parameters / 1e6:.2f} M" in card
    assert json.loads(card.split("```json\n")[1].split("```")[0]) == PROVENANCE


@pytest.mark.parametrize(
    ("parents", "given", "expected"),
    [
        (["mobile_sam"], None, "license: apache-2.0"),
        (["mobile_sam", "edge_sam"], None, 'license: other\nlicense_name: "NTU S-Lab 1.0"'),
        (["my_own"], "Apache-2.0", "license: apache-2.0"),
        ([], "CC-BY-4.0", 'license: other\nlicense_name: "CC-BY-4.0"'),
    ],
)
def test_the_licence_is_that_of_the_parents_or_given(sam, parents, given, expected):
    provenance = {"parents": [{"name": name} for name in parents]}
    assert expected in head(model_card(sam, provenance, "a/b", given))


@pytest.mark.parametrize(("parents", "why"), [(["mobile_sam", "my_own"], "'my_own'"), ([], "no provenance")])
def test_a_licence_that_does_not_follow_is_asked_for(sam, parents, why):
    with pytest.raises(samlet.InputError, match=rf"licence .* not known.*{why}.*--licence"):
        model_card(sam, {"parents": [{"name": name} for name in parents]}, "a/b", None)


def test_provenance_is_that_of_the_folder(sam, tmp_path):
    samlet.save(sam, tmp_path / "native", provenance={"method": "drawn"})
    assert read_provenance(tmp_path / "native")["method"] == "drawn"
    (tmp_path / "export.json").write_text(json.dumps({"provenance": {"name": "mobile_sam"}}))
    assert read_provenance(tmp_path) == {"name": "mobile_sam"}
    assert "made from `mobile_sam`." in model_card(sam, {"name": "mobile_sam"}, "a/b", None)
    (tmp_path / "export.json").write_text("[")
    assert read_provenance(tmp_path) == {}
