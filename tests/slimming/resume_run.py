"""A slimming run, here or as a process of its own that can be killed: resume_run.py PHOTOS OUT [SETTING=VALUE …].

With kill_at="STAGE/STEP" it kills itself, as kill -9 does, when the checkpoint of that step is written.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from samlet.checkpoints import native
from samlet.runs.distributed import DistributedContext
from samlet.runs.folder import RunFolder
from samlet.slimming.config import SlimConfig
from samlet.slimming.pipeline import run_slimming
from tests.conftest import kill_after_checkpoint, make_tiny

SETTINGS = {
    "precision": "fp32",
    "steps": 12,
    "batch_size": 2,
    "image_size": 64,
    "scoring_images": 2,
    "recovery_images": 2,
    "checkpoint_every": 3,
}


def go(photos: Path, out: Path, **settings: Any) -> None:
    """Slim, or continue, and write the model, and beside it the losses."""
    config = SlimConfig(**{**SETTINGS, **settings})
    engine = DistributedContext("cpu", config.precision)
    made = run_slimming(make_tiny(), photos, config, workspace=RunFolder(out), engine=engine)
    if engine.is_main:
        native.write(made.sam, out, overwrite=True, run_folder=True)
        losses = {name: stage.losses for name, stage in made.stages.items()}
        (out.parent / f"{out.name}-losses.json").write_text(json.dumps(losses))


if __name__ == "__main__":
    given = {name: json.loads(value) for name, value in (word.split("=") for word in sys.argv[3:])}
    kill_after_checkpoint(given.pop("kill_at", None))
    torch.set_num_threads(1)
    go(Path(sys.argv[1]), Path(sys.argv[2]), **given)
