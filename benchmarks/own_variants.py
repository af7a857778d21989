"""How a model of our own came about: accuracy of what stood between the stages of its recipe, and of variants.

python benchmarks/own_variants.py "LABEL=VIEWS=FOLDER" [...] [--of samlet_s|samlet_m] [--limit N] [--threads N]

LABEL says in words what was trained, VIEWS how many photographs were seen, FOLDER is the model. Rows that are there
already are not measured again, unless their model is another one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from common import RESULTS, write
from sam2 import SIZES, miou
from samlet.zoo import load_weights

FILES = {"samlet_s": "own_variants", "samlet_m": "own_variants_m"}
"""The result file of each."""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="LABEL=VIEWS=FOLDER")
    parser.add_argument("--of", choices=tuple(FILES), default="samlet_s", help="which model of our own")
    parser.add_argument("--limit", type=int, help="photographs of each set; all by default")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    name = FILES[options.of]
    path = options.out / f"{name}.json"
    earlier = json.loads(path.read_text())["rows"] if path.is_file() else {}
    photographs = f"first {options.limit}" if options.limit else "all"
    protocol = (
        f"mean IoU over masks at full resolution, {photographs} photographs of each set, one click in a mask or its "
        "tight box; single mask, and best predicted of the three; float32; 95 % intervals by bootstrap over photographs"
    )
    rows: dict[str, Any] = {}
    for given in options.models:
        label, views, folder = given.split("=")
        sam = load_weights(Path(folder))
        fingerprint = sam.fingerprint()
        row = earlier.get(label, {})
        if row.get("fingerprint") != fingerprint:
            print(label, flush=True)
            row = {"fingerprint": fingerprint, "at": {str(size): miou(sam, size, options.limit) for size in SIZES}}
        rows[label] = {**row, "views": int(views)}
        write(name, protocol, {"rows": rows}, options.out, quiet=True)


if __name__ == "__main__":
    main()
