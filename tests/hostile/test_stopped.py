"""Long commands stopped at random moments, twice in a row, and run again: as if nothing had happened.

Each moment stops a run by SIGKILL, SIGTERM or SIGINT, stops the run that continues it by another of them, and lets the
third one end. Its files and its `--json` must be those of a run that nobody stopped, and nothing else may be there.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.hostile import THOROUGH
from tests.hostile.commands import Commands
from tests.hostile.conftest import write_photographs

MOMENTS = 20 if THOROUGH else 4
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}

_GRID = "--points-per-side 2 --pred-iou-thresh 0 --stability-score-thresh 0 --image-size 64"
LONG = {
    "segment": f"segment {{photos}} --everything {_GRID} --model {{base}}/m --workers 1",
    "label": f"label --teacher {{base}}/m --images {{photos}} {_GRID} --workers 1",
    "label-coco": f"label --teacher {{base}}/m --images {{photos}} {_GRID} --workers 1 --format coco",
    "label-png": f"label --teacher {{base}}/m --images {{photos}} {_GRID} --workers 1 --format png",
    "evaluate": "evaluate {base}/m --data {base}/sa1b --image-size 64 --prompt box",
    "compare": "compare {base}/m {base}/hf --data {base}/sa1b --image-size 64 --no-measure",
    "slim": "slim --teacher {base}/m --images {photos} --steps 2 --image-size 64 "
    "--checkpoint-every 1 --recovery-images 0",
    "distill": "distill --teacher {base}/m --student {base}/m --data {base}/coco.json --steps 3 --image-size 64 "
    "--checkpoint-every 1 --prompts 4 --rounds 1",
    "quantize": "quantize {base}/m --images {photos} --image-size 64 --calibration-images 1 --prompts 2 --candidates 4 "
    "--rounds 1 --metric mse",
}

_TIMES = ("seconds", "_s", "per_second", "continued", "steps_per", "peak_memory_bytes", "time")
_OF_THE_MOMENT = ("log.jsonl", "tensorboard", "report.md", ".png", "provenance.json", "evaluation.json")
"""Files with times in them, which are compared by their names alone, or without their times."""


def without_times(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: without_times(one) for key, one in content.items() if not str(key).endswith(_TIMES)}
    return [without_times(one) for one in content] if isinstance(content, list) else content


def state(folder: Path) -> dict[str, Any]:
    """The files of a folder: JSON without times, others as they are, and of pictures and logs that they are there."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if "tensorboard" in name or path.is_dir():
            continue
        if path.suffix in (".json", ".jsonl") and path.name != "log.jsonl":
            lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
            found[name] = without_times([json.loads(line) for line in lines])
        elif any(part in name for part in _OF_THE_MOMENT):
            found[name] = "there"
        else:
            found[name] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopped") / "p"
    write_photographs(folder, 4)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_stopped_twice_is_as_never_stopped(name: str, base: Path, photos: Path, commands: Commands, tmp_path: Path):
    words = [word.format(base=base, photos=photos) for word in LONG[name].split()] + ["--out", "o", "--json"]
    whole = tmp_path / "whole"
    whole.mkdir()
    warm = commands.run(words, whole, memory=0)  # what is imported on its first use is not timed
    assert warm.code == 0, warm.err
    shutil.rmtree(whole / "o")
    first = commands.run(words, whole, memory=0)
    assert first.code == 0, first.err
    expected, content = state(whole / "o"), without_times(json.loads(first.out))
    source = random.Random(name)
    stopped, usual = 0, first.seconds
    for moment in range(MOMENTS):
        here = tmp_path / f"{moment}"
        here.mkdir()
        first_signal, second_signal = SIGNALS[moment % 3], SIGNALS[(moment // 3) % 3]
        begun = 1.1 * usual * source.random()
        for number, when in ((first_signal, begun), (second_signal, 1.1 * usual * source.random())):
            found = commands.run(words, here, memory=0, stop=(number, when))
            if found.code == 0:
                if when == begun:  # the machine was busier when the first run was timed
                    usual = min(usual, found.seconds)
                shutil.rmtree(here / "o")  # it ended before; finished models are not written again
                continue
            if found.code == 2 and "already holds" in found.err:
                continue  # the run before was stopped after its result was whole
            stopped += 1
            assert found.alive == 0, "a process lives on"
            assert "Traceback" not in found.err, found.err
            if number == signal.SIGKILL:
                assert found.signal == number, found.err
            else:
                assert found.code == CODES[number] or found.signal == number, f"{found.code} {found.err}"
        last = commands.run(words, here, memory=0)
        told = f"moment {moment}: {first_signal.name} after {begun:.3f} s, {second_signal.name}\n{last.err[-2000:]}"
        if last.code == 2 and "already holds" in last.err:  # it was stopped after the result was whole
            made = {name: one for name, one in state(here / "o").items() if not name.startswith("run/checkpoints")}
            assert made == expected, told
            shutil.rmtree(here)
            continue
        assert last.code == 0, told
        assert without_times(json.loads(last.out)) == content, told
        assert state(here / "o") == expected, told
        litter = {entry.name for entry in here.iterdir()} - {"o"}
        assert not litter, f"{litter} {told}"
        shutil.rmtree(here)
    assert stopped >= MOMENTS, f"only {stopped} of {2 * MOMENTS} runs were stopped before their end"
