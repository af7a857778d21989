"""What the benchmarks share: where results go and what is written with every figure."""

from __future__ import annotations

import datetime
import json
import os
import platform
from pathlib import Path
from typing import Any

import torch

import samlet

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def shared_data() -> Path:
    """The folder of data that is not shipped; $SAMLET_SHARED or `shared` beside the repository."""
    return Path(os.environ.get("SAMLET_SHARED", ROOT.parent / "shared"))


def machine() -> dict[str, Any]:
    """The class of machine, no more."""
    return {
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "device": "cpu",
        "torch": torch.__version__.split("+")[0],
        "python": platform.python_version(),
        "samlet": samlet.__version__,
    }


def write(name: str, protocol: str, content: dict[str, Any], folder: Path = RESULTS, quiet: bool = False) -> Path:
    """Write one result with its protocol, machine and date."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    content = {**content, "protocol": protocol, "machine": machine(), "date": datetime.date.today().isoformat()}
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    temporary.replace(path)
    if not quiet:
        print(path.name, json.dumps(content, indent=2))
    return path
