"""Run every command on two checkouts and compare what they print and write: python scripts/compare_commits.py OLD NEW

For a redesign that must change nothing. Compared are exit codes, JSON (all keys; values but times and memory), the
names of the files written, and the bytes of weights, configs, masks and tables. Pictures and logs are compared by name.
OLD may be a folder that an earlier call wrote with `--keep DIR`, in place of a checkout.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PHOTOS = "examples/photos"
SLIM = (
    f"slim --teacher mobile_sam --images {PHOTOS} --image-size 128 --steps 4 --scoring-images 4 --recovery-images 4 "
    "--precision fp32"
)
DISTILL = (
    f"distill --teacher mobile_sam --student $OUT/slim --data {PHOTOS} --image-size 128 --prompts 8 --rounds 2 "
    "--precision fp32"
)
COCO = "$OUT/coco.json"
COMMANDS = {
    "models": "models",
    "cost": "cost mobile_sam --image-size 256 --no-measure",
    "point": f"segment {PHOTOS}/dogs.jpg --point 214,250 --image-size 256",
    "box": f"segment {PHOTOS}/dogs.jpg --box 160,180,360,500 --image-size 256",
    "everything": f"segment {PHOTOS}/dogs.jpg --everything --image-size 256 --points-per-side 8",
    "hierarchical": f"segment {PHOTOS}/dogs.jpg --everything --strategy hierarchical --image-size 256 "
    "--points-per-side 8",
    "folder": f"segment {PHOTOS} --everything --image-size 256 --points-per-side 4",
    "label": f"label --teacher mobile_sam --images {PHOTOS} --image-size 256 --points-per-side 4 --pred-iou-thresh 0.3 "
    "--stability-score-thresh 0.5",
    "slim": SLIM,
    "slim-one-step": f"{SLIM} --procedure one-step --importance magnitude --selection local --ratio 0.3",
    "slim-macs": f"{SLIM} --macs 0.5",
    "slim-align": f"{SLIM} --stage align --student $OUT/slim --views 2 --cache $OUT/cache --average 0.9",
    "distill": f"{DISTILL} --steps 2",
    "distill-labelled": f"{DISTILL.replace(PHOTOS, '$OUT/label')} --images {PHOTOS} --steps 2 --clicks replace",
    "quantize": f"quantize $OUT/slim --images {PHOTOS} --image-size 128 --calibration-images 2 --candidates 4 "
    "--rounds 1",
    "evaluate": f"evaluate $OUT/slim --data $OUT/label --images {PHOTOS} --prompt point --image-size 128",
    "evaluate-agreement": f"evaluate $OUT/slim --data {PHOTOS} --reference mobile_sam --image-size 128",
    "compare": f"compare mobile_sam $OUT/slim --data $OUT/label --images {PHOTOS} --image-size 128 --no-measure",
    "onnx": "export $OUT/slim --to onnx --image-size 128",
    "openvino": "export $OUT/slim --to openvino --image-size 128",
    "segment-anything": "export mobile_sam --to segment-anything",
    "exported": f"segment {PHOTOS}/dogs.jpg --point 214,250 --model $OUT/onnx --image-size 128",
    "refused-model": f"segment {PHOTOS}/dogs.jpg --point 214,250 --model nothing",
    "refused-ratio": f"slim --teacher mobile_sam --images {PHOTOS} --ratio 1.5 --steps 2",
    "refused-steps": f"slim --teacher mobile_sam --images {PHOTOS} --steps -1",
    "refused-output": f"label --teacher mobile_sam --images {PHOTOS} --image-size 256 --out $OUT/slim",
    "refused-point": f"segment {PHOTOS}/dogs.jpg --point 9999,1",
    "refused-format": f"segment {PHOTOS}/dogs.jpg --everything --points-per-side -3",
}
WITHOUT_OUT = {"models", "cost"}
MEASURED = (
    "seconds",
    "latency",
    "images_per_second",
    "memory",
    "time",
    "throughput",
    "available",
    "encode_s",
    "prompts_s",
)
NAMED_ONLY = {".pth", ".png", ".jpg", ".jsonl", ".md", ".xml", ".bin", ".onnx"}


def run_all(checkout: Path, folder: Path, only: list[str]) -> dict[str, Any]:
    """What each command printed and wrote."""
    found: dict[str, Any] = {}
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "COLUMNS": "120"}
    for name, command in COMMANDS.items():
        if only and name not in only:
            continue
        words = [word.replace("$OUT", str(folder)) for word in command.split()]
        if name not in WITHOUT_OUT and "--out" not in words:
            words += ["--out", str(folder / name)]
        if name not in ("models", "cost"):
            words += ["--threads", "1"]
        print(f"{checkout.name}: {name}", file=sys.stderr, flush=True)
        run = [sys.executable, "-m", "samlet", *words, "--json"]
        done = subprocess.run(run, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
        text = done.stdout.replace(str(folder), "$OUT").replace(str(checkout), "$HERE")
        errors = done.stderr.replace(str(folder), "$OUT").replace(str(checkout), "$HERE")
        last = errors.strip().splitlines()[-1:] if done.returncode else []
        found[name] = {
            "exit": done.returncode,
            "said": last,
            "json": _plain(json.loads(text)) if text.strip() else None,
            "files": _files(folder / name),
        }
        if done.returncode and not name.startswith("refused"):
            print(errors[-2000:], file=sys.stderr)
    return found


def _plain(value: Any, key: str = "") -> Any:
    """JSON without what differs between two runs of the same code."""
    if isinstance(value, dict):
        under = f"{key} " if "time" in key else ""
        return {name: _plain(inside, under + name) for name, inside in value.items()}
    if isinstance(value, list):
        return [_plain(inside, key) for inside in value]
    if any(word in key for word in MEASURED) and isinstance(value, int | float):
        return type(value).__name__
    return value


def _files(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        return {}
    return {
        str(path.relative_to(folder)): _digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "tensorboard" not in path.parts
    }


def _digest(path: Path) -> str:
    if path.suffix in NAMED_ONLY:
        return "there"
    if path.suffix == ".json":
        text = json.dumps(_plain(json.loads(path.read_text())), sort_keys=True)
        return hashlib.sha256(_without_places(text).encode()).hexdigest()[:16]
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _without_places(text: str) -> str:
    """Text without the folders of a run, which differ."""
    for part in (tempfile.gettempdir(),):
        while (start := text.find(f"{part}/samlet-compare-")) >= 0:
            end = start + len(part) + len("/samlet-compare-") + 8
            text = text[:start] + "$OUT" + text[end:]
    return text


def _differences(old: Any, new: Any, where: str) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        missing = [f"{where}.{name} is gone" for name in old if name not in new]
        added = [f"{where}.{name} is new" for name in new if name not in old]
        both = [line for name in old if name in new for line in _differences(old[name], new[name], f"{where}.{name}")]
        return missing + added + both
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            line for i, pair in enumerate(zip(old, new, strict=True)) for line in _differences(*pair, f"{where}[{i}]")
        ]
    return [] if old == new else [f"{where}: {old!r} -> {new!r}"[:300]]


def main() -> int:
    """Compare; exit 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path, nargs="?")
    parser.add_argument("--keep", type=Path, help="write what OLD did here, for later calls")
    parser.add_argument(
        "--only", nargs="*", default=[], help="names of commands; later ones need the folders of earlier"
    )
    options = parser.parse_args()
    results = []
    for place in (options.old, options.new):
        if place is None:
            continue
        if place.is_file():
            results.append(json.loads(place.read_text()))
            continue
        folder = Path(tempfile.mkdtemp(prefix="samlet-compare-"))
        try:
            results.append(run_all(place.resolve(), folder, options.only))
        finally:
            shutil.rmtree(folder)
        if options.keep and place == options.old:
            options.keep.write_text(json.dumps(results[0]))
    if len(results) < 2:
        return 0
    old, new = results
    old = {name: old[name] for name in old if name in new}
    lines = _differences(old, new, "")
    print("\n".join(lines) or f"{len(new)} commands: no difference")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
