"""Gradients that do not depend on how busy the machine is."""

from __future__ import annotations

import subprocess
import sys

import torch

import samlet
from samlet.runs.reproducible import reproducible
from tests.conftest import make_tiny


def test_gradients_of_indexed_tables_repeat_under_load():
    offsets = (torch.arange(196)[:, None] - torch.arange(196)).abs()
    weights = torch.randn(5, 196, 196)

    def gradient():
        table = torch.zeros(5, 196, requires_grad=True)
        (table[:, offsets] * weights).sum().backward()
        return table.grad

    threads = torch.get_num_threads()
    torch.set_num_threads(4)  # of which none sums in a fixed order by itself
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    try:
        with reproducible():
            first = gradient()
            assert all(torch.equal(gradient(), first) for _ in range(50))
    finally:
        for process in busy:
            process.kill()
            process.wait()
        torch.set_num_threads(threads)


def test_slimming_is_inside_and_the_settings_come_back(photo_folder, monkeypatch):
    seen = []

    def spy(*arguments, **options):
        seen.append(torch.are_deterministic_algorithms_enabled())
        return train(*arguments, **options)

    from samlet.slimming.stages import train

    monkeypatch.setattr("samlet.slimming.stages.train", spy)
    samlet.slim(make_tiny(), photo_folder, steps=2, image_size=64, scoring_images=1, recovery_images=0, batch_size=1)
    assert seen == [True, True]
    assert not torch.are_deterministic_algorithms_enabled()
