"""Count the models of the zoo and write src/samlet/assets/zoo_counts.json, which `samlet models` reads."""

from __future__ import annotations

import json
from pathlib import Path

from samlet.evaluation.counts import counted, digest
from samlet.zoo import ENTRIES

OUT = Path(__file__).resolve().parents[1] / "src" / "samlet" / "assets" / "zoo_counts.json"


def main() -> None:
    """Count and write."""
    configs = {digest(config): config for entry in ENTRIES.values() if (config := entry.sam_config()) is not None}
    lines = [f'  "{key}": {json.dumps(counted(config))}' for key, config in configs.items()]
    OUT.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
