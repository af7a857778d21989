"""A distillation, here or as a process of its own that can be killed: resume_run.py DATA OUT [SETTING=VALUE …].

With kill_at=STEP it kills itself, as kill -9 does, when the checkpoint of that step is written.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from samlet.checkpoints import native
from samlet.data.datasets import open_dataset
from samlet.distillation.config import DistillConfig
from samlet.distillation.pipeline import run_distillation
from samlet.runs.distributed import DistributedContext
from samlet.runs.folder import RunFolder
from tests.conftest import kill_after_checkpoint, make_tiny

SETTINGS = {
    "precision": "fp32",
    "image_size": 64,
    "steps": 8,
    "prompts": 4,
    "rounds": 2,
    "batch_size": 2,
    "checkpoint_every": 2,
}


def go(data: Path, out: Path, **settings: Any) -> None:
    """Distil, or continue, and write the student, and beside it what the run measured."""
    config = DistillConfig(**{**SETTINGS, **settings})
    engine = DistributedContext("cpu", config.precision)
    made = run_distillation(
        make_tiny(0), make_tiny(1), open_dataset(data), config, workspace=RunFolder(out), engine=engine
    )
    if engine.is_main:
        native.write(made.sam, out, overwrite=True, run_folder=True)
        found = {"losses": made.log.lines, "start": made.start, "end": made.stage.validation}
        (out.parent / f"{out.name}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    given = {name: json.loads(value) for name, value in (word.split("=") for word in sys.argv[3:])}
    kill_after_checkpoint(given.pop("kill_at", None))
    torch.set_num_threads(1)
    go(Path(sys.argv[1]), Path(sys.argv[2]), **given)
