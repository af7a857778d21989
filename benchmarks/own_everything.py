"""Everything mode of models of our own beside MobileSAM's: how well any of its masks covers each true one.

python benchmarks/own_everything.py [--limit N] [--points N] [--threads N]

The same grid of points and the default thresholds for every model, 1024 px.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch

from common import shared_data, write
from sam2 import SETS
from samlet.data.datasets import open_dataset
from samlet.evaluation.ground_truth import Rule
from samlet.evaluation.miou import evaluate_all
from samlet.evaluation.statistics import paired_difference
from samlet.zoo import load_weights

REFERENCE, OWN = "mobile_sam", ("samlet_s",)
RULE: Rule = "best"
SEED = 0


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=15, help="photographs of each set")
    parser.add_argument("--points", type=int, default=16, help="on a side of the grid")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows: dict[str, dict[str, Any]] = {name: {} for name in (REFERENCE, *OWN)}
    for data, place in SETS.items():
        dataset = open_dataset(shared_data().joinpath("data", *place))
        values = {}
        for name, row in rows.items():
            (found,) = evaluate_all(
                load_weights(name),
                dataset,
                ("everything",),
                limit=options.limit,
                progress=False,
                rules=(RULE,),
                everything={"strategy": "grid", "points_per_side": options.points},
            )
            values[name] = found.values(RULE)
            row[data] = {"miou": found.miou[RULE], "ci": list(found.intervals[RULE]), "masks": found.masks}
        for name in OWN:
            pair = paired_difference(values[name], values[REFERENCE], SEED)
            rows[name][data]["less_mobile_sam"] = {"mean": pair.mean, "ci": [pair.low, pair.high]}
    write(
        "own_everything",
        f"best IoU of each true mask with any mask of everything mode, mean over true masks; grid of {options.points} "
        f"x {options.points} points, default thresholds, 1024 px, first {options.limit} photographs of each set, 95 % "
        f"intervals by bootstrap over photographs, differences paired; seed {SEED}",
        {"rows": rows},
    )


if __name__ == "__main__":
    main()
