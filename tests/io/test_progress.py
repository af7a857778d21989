"""Signs of life: a plain line a minute where there is no terminal, a bar on one, one bar over all parts."""

from __future__ import annotations

import io
import sys
import threading
import time
import types

import pytest

from samlet.io import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when it is told to."""
    now = types.SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now.seconds)
    return now


def lines(capsys):
    return capsys.readouterr().err.splitlines()


def test_off_a_terminal_there_is_a_line_a_minute_and_no_bar(clock, capsys):
    with progress.progress_bar("aligning", "step", 400) as bar:
        for _ in range(300):  # a second each
            clock.seconds += 1
            bar.set_postfix(loss="0.5", refresh=False)
            bar.update()
    said = lines(capsys)
    assert len(said) == 5
    assert said[0] == "samlet: aligning: step 60 of 400, 15 %, about 6 min left, loss 0.5"
    assert said[-1] == "samlet: aligning: step 300 of 400, 75 %, about 100 s left, loss 0.5".replace("100 s", "2 min")
    assert "\r" not in "".join(said)


def test_short_work_says_nothing(clock, capsys):
    for _ in range(3):
        for _ in progress.followed(range(5), "drawing", "picture"):
            clock.seconds += 1
    assert lines(capsys) == []


def test_bars_inside_of_each_other_share_the_minute(clock, capsys):
    with progress.progress_bar("outer", "image", 10) as outer:
        for _ in range(10):
            with progress.progress_bar("inner", "mask", 6) as inner:
                for _ in range(6):
                    clock.seconds += 5
                    inner.update()
            outer.update()
    assert len(lines(capsys)) == 5  # 300 seconds


def test_one_bar_over_all_parts(monkeypatch):
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr(progress, "_REDRAW_SECONDS", 0.0)
    with progress.whole("step", 10):
        with progress.progress_bar("scoring", "image", 3) as bar:
            bar.update(3)
        with progress.progress_bar("first", "step", 4, done=2) as bar:  # two of an earlier session
            bar.update(2)
        with progress.progress_bar("second", "step", 6) as bar:
            bar.update(6)
    text = shown.getvalue()
    assert "\n" not in text.strip()  # one line that is drawn anew
    assert "scoring 3 of 3" in text
    assert "10/10" in text
    assert "second" in text


def test_a_whole_counts_its_own_unit_alone(clock, capsys):
    with progress.whole("step", 10):
        with progress.progress_bar("scoring", "image", 3) as bar:
            bar.update(3)
        with progress.progress_bar("first", "step", 4, done=2) as bar:
            clock.seconds += 61
            bar.update()
    assert lines(capsys) == ["samlet: first: step 3 of 10, 30 %, about 7 min left"]


def test_no_bar_where_none_is_asked_for(monkeypatch):
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    with progress.progress_bar("work", "step", 3, shown=False) as bar:
        bar.set_postfix(loss="1")
        bar.update(3)
    with progress.whole("step", 3, shown=False), progress.progress_bar("work", "step", 3, shown=False) as bar:
        bar.update(3)
    assert shown.getvalue() == ""


def test_a_notebook_gets_its_own_bar(monkeypatch):
    made = []
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.setattr("tqdm.auto.tqdm", lambda **given: made.append(given))
    progress.progress_bar("work", "step", 3)
    assert made == [{"total": 3, "initial": 0, "desc": "work", "unit": "step", "unit_scale": False}]


def test_what_cannot_be_counted_shows_a_sign_of_life(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.05)
    with progress.working("measuring"):
        time.sleep(0.4)
    said = capsys.readouterr().err.splitlines()
    assert len(said) >= 2
    assert all(line.startswith("samlet: measuring, ") and line.endswith(" so far") for line in said)
    before = threading.active_count()
    with progress.working("measuring", shown=False):
        assert threading.active_count() == before
    assert capsys.readouterr().err == ""
