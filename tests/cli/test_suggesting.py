"""What is said of a mistyped command line: the option, the choice or the form that was meant."""

from __future__ import annotations

import pytest

from samlet.cli import main
from samlet.cli.parsers import build_parser
from samlet.cli.parsers.suggesting import alternatives
from tests.conftest import PHOTOS

CAT = str(PHOTOS / "cat.jpg")
SEGMENT = ["segment", "photo.jpg", "--out", "o"]
MISTYPED = {
    "a plural": ([*SEGMENT, "--points", "1,2"], "no option --points, perhaps you mean --point or --points-per-side"),
    "a letter too many": ([*SEGMENT, "--boxx", "1,2,3,4"], "segment has no option --boxx, perhaps you mean --box;"),
    "with its value": ([*SEGMENT, "--boxx=1,2,3,4"], "segment has no option --boxx, perhaps you mean --box;"),
    "nothing like it": ([*SEGMENT, "--zzz"], "samlet segment has no option --zzz;"),
    "two that begin so": (["slim", "--image", "d"], "no option --image, perhaps you mean --images or --image-size;"),
    "before any command": (["--vresion"], "samlet has no option --vresion, perhaps you mean --version;"),
    "a command": (["segmnt"], "perhaps you mean segment;"),
    "a choice": ([*SEGMENT, "--format", "coc"], "perhaps you mean coco;"),
    "one word more": ([*SEGMENT, "b.jpg"], "unrecognized arguments: b.jpg; this is one argument more than it takes"),
    "two words": ([*SEGMENT, "--point", "380", "250"], "is 2 words; expected X,Y[,0|1] as one: --point 380,250;"),
    "two words first": (["segment", "--point", "380", "250", "photo.jpg", "--out", "o"], "as one: --point 380,250;"),
    "a comma and a space": ([*SEGMENT, "--point", "380,", "250"], "as one: --point 380,250;"),
    "below zero": ([*SEGMENT, "--point", "380", "-2.5"], "as one: --point 380,-2.5;"),
    "a box in words": ([*SEGMENT, "--box", "1", "2", "3", "4"], "4 words; expected X0,Y0,X1,Y1 as one: --box 1,2,3,4;"),
    "after an equals sign": ([*SEGMENT, "--box=1", "2", "3", "4"], "as one: --box 1,2,3,4;"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTYPED)
def test_what_was_meant_is_named_in_one_line(capsys, name):
    words, expected = MISTYPED[name]
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert expected in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("option", ["--point", "--box", "--range"])
@pytest.mark.parametrize("value", ["-5,250", "-5,-2.5,1,2", "-.5,1e3", "-1000,3000"])
def test_values_that_begin_with_a_minus_are_values(option, value):
    for words in ([option, value], [f"{option}={value}"]):
        found = getattr(build_parser().parse_args([*SEGMENT, *words]), option[2:])
        assert found in (value, [value])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--point", "-5,250"], "point -5,250 lies outside the image"),
        (["--box", "-5,1,9,9"], "box -5,1,9,9 is empty or reaches outside the image"),
    ],
)
def test_prompts_left_of_the_photograph_are_said_to_be_outside(capsys, tmp_path, words, said):
    assert main(["segment", CAT, *words, "--image-size", "64", "--out", str(tmp_path / "o")]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_what_stands_as_it_should_is_left_alone():
    words = [*SEGMENT, "--point", "380,250", "--point", "5,5,0", "--box", "1,2,3,4", "--workers", "1"]
    found = build_parser().parse_args(words)
    assert (found.point, found.box) == (["380,250", "5,5,0"], ["1,2,3,4"])
    assert build_parser().parse_args(["segment", "--point", "380,250", "5", "--out", "o"]).image.name == "5"


def test_only_close_words_are_named():
    assert alternatives("--quiet", ["--box", "--point"]) == ""
    assert alternatives("--im", ["--images", "--image-size", "--page"]) == ", perhaps you mean --images or --image-size"
