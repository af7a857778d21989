"""Remarks are said once, and few of a kind."""

from __future__ import annotations

from samlet.io.remarks import collected, forget, remark


def test_once_and_few_of_a_kind(capsys):
    with collected() as said:
        for _ in range(2):
            remark("the same")
        for number in range(50):
            remark(f"file {number}", "kind")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "samlet: the same"
    assert len(lines) == 21
    assert lines[-1].endswith("(further remarks of this kind are left out)")
    assert len(said) == 52
    forget()
    remark("the same")
    assert capsys.readouterr().err == "samlet: the same\n"
