"""Put a model of our own into the package: int8 with one scale for each output channel.

    python scripts/embed_samlet.py MODEL --name samlet_s --from "MobileSAM, slimmed to …" [--views N]

MODEL is the folder that `samlet slim` or `samlet distill` wrote. What was trained, and on what, goes into
`provenance.json`; `ORIGIN.md` and `LICENSE` beside it are written by hand.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from samlet.checkpoints import load_checkpoint, native
from samlet.evaluation.costs import count_encoder_macs, count_parameters


def main() -> None:
    """Read, round, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--from", dest="origin", required=True, help="what it was made from and how, in words")
    parser.add_argument("--views", type=int, required=True, help="image views that it was trained on, all stages")
    parser.add_argument("--out", type=Path, help="src/samlet/assets/NAME if not given")
    options = parser.parse_args()
    sam = load_checkpoint(options.model)
    out = options.out or Path("src/samlet/assets") / options.name
    provenance = {
        "model": options.name,
        "source": options.origin,
        "views": options.views,
        "stored": "int8 with one scale for each output channel; tender layers float16; tables and vectors float32",
        "parameters": count_parameters(sam),
        "encoder_macs": count_encoder_macs(sam).macs_modules,
    }
    out.mkdir(parents=True, exist_ok=True)
    native.write_into(sam, out, provenance, weights="int8")
    size = (out / "model.safetensors").stat().st_size
    print(f"{out}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
