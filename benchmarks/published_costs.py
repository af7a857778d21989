"""Parameters and multiply-accumulates as samlet counts them beside those in print. Needs no weights.

python benchmarks/published_costs.py
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from common import RESULTS, write
from samlet.evaluation.costs import cost
from samlet.models import Sam
from samlet.zoo import ENTRIES


def main() -> None:
    counted = [name for name, entry in ENTRIES.items() if entry.config is not None and entry.published]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=counted, help="one model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = {}
    for name in [options.only] if options.only else counted:
        config = ENTRIES[name].sam_config()
        assert config is not None
        found = cost(Sam(config), measure=False)
        row: dict[str, Any] = {
            "parameters": found.parameters,
            "published_parameters_m": ENTRIES[name].published[-1].parameters / 1e6,
            "macs_modules": found.macs_modules,
            "published_modules_g": None,
            "macs_total": found.macs_total,
            "published_total_g": None,
            "encoder_macs_computed": found.encoder.macs_computed,
            "decoder_macs_computed": found.decoder.macs_computed,
        }
        for one in ENTRIES[name].published:
            row[f"published_{one.convention}_g"] = one.macs / 1e9
        rows[name] = row
    write(
        "published_costs",
        "whole model, one image of 1024x1024, one point; transposed convolutions at their output positions, as the "
        "published counters have it; in print: modules and parameters SlimSAM's table, total TinySAM's",
        {"models": rows},
        options.out,
    )


if __name__ == "__main__":
    main()
