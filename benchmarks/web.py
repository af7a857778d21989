"""What people wait for on the page of `samlet web`, what it holds in memory, and how its masks compare with PyTorch's.

python benchmarks/web.py [speed] [memory] [masks] [--pages DIR]

Needs node, tests/web/node_modules (`make web-tools`) and Chromium. Pages are made in DIR, or taken from there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

import samlet
from common import ROOT, write
from samlet.data.bundled import CLICKS, bundled_photographs
from samlet.web import PageServer, make_page
from samlet.web.config import Weights

SCRIPTS = ROOT / "tests" / "web" / "browser"
MODELS = {"samlet_s": "samlet_s", "mobile_sam": "mobile_sam"}
SPEED: list[tuple[str, int, Weights, str]] = [  # model, size, weights, what the address asks for
    ("samlet_s", 512, "int8", ""),
    ("samlet_s", 512, "int8", "?threads=1"),
    ("samlet_s", 1024, "int8", ""),
    ("mobile_sam", 512, "int8", ""),
]
MASKS: list[tuple[str, int, Weights]] = [
    ("samlet_s", 512, "float32"),
    ("samlet_s", 512, "float16"),
    ("samlet_s", 512, "int8"),
    ("samlet_s", 1024, "int8"),
    ("mobile_sam", 512, "int8"),
]
LARGE = (3000, 4000)
PHOTOGRAPH = next(path for path in bundled_photographs() if path.name == "dogs.jpg")


def page(pages: Path, model: str, size: int, weights: Weights) -> Path:
    """A page, made once."""
    folder = pages / f"{model}_{size}_{weights}"
    if not folder.exists():
        make_page(samlet.load(MODELS[model]), folder, name=model, size=size, weights=weights)
    return folder


@contextmanager
def served(folder: Path) -> Iterator[str]:
    with PageServer(folder, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.url
        server.shutdown()


def ask(script: str, question: dict[str, Any]) -> Any:
    """What a script of the browser answers."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or "chromium"
    done = subprocess.run(
        ["node", str(SCRIPTS / script)],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        env={**os.environ, "CHROMIUM": chromium},
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


@contextmanager
def large_photograph() -> Iterator[Path]:
    """The photograph of `speed` at 12 megapixels."""
    with tempfile.TemporaryDirectory() as temporary, Image.open(PHOTOGRAPH) as picture:
        path = Path(temporary) / "large.jpg"
        picture.convert("RGB").resize(LARGE, Image.Resampling.BICUBIC).save(path, quality=90)
        yield path


def places(clicks: int) -> list[list[float]]:
    """Where to click, as shares of width and height."""
    return np.random.default_rng(0).uniform(0.1, 0.9, (clicks + 1, 2)).tolist()


def speed(pages: Path, clicks: int) -> None:
    rows = []
    for model, size, weights, query in SPEED:
        folder = page(pages, model, size, weights)
        with large_photograph() as large, served(folder) as url:
            asked = {"what": "times", "url": url, "query": query, "photograph": str(PHOTOGRAPH), "large": str(large)}
            found = ask("measure.mjs", {**asked, "clicks": places(clicks)})
        later = found["dropped"]["later"]
        rows.append(
            {
                "model": model,
                "size": size,
                "weights": weights,
                "backend": found["backend"],
                "first_load_bytes": json.loads((folder / "files.json").read_text())["first_load_bytes"],
                "first_visit_s": found["firstVisit"],
                "next_visit_s": found["nextVisit"],
                "first_mask_s": found["dropped"]["first"],
                "first_mask_large_s": found["large"]["first"],
                "click_median_s": statistics.median(later),
                "click_worst_s": max(later),
                "parts_s": found["parts"],
                "everything": found["everything"],
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    write(
        "web_speed",
        "headless Chromium without a GPU, page from a server on the same machine; first visit: from navigation until "
        "the first photograph is encoded, nothing cached; next visit: all cached; first mask: from dropping a "
        f"photograph (427x640; large: {LARGE[0]}x{LARGE[1]}) until the mask of a click made at once is painted; click: "
        f"{clicks} clicks at random places, each a new object, until the mask is painted, the wait for the next frame "
        "included; everything: 16x16 clicks; seed 0",
        {"rows": rows},
    )


def memory(pages: Path) -> None:
    rows = []
    for model, size, weights in dict.fromkeys(row[:3] for row in SPEED):
        folder = page(pages, model, size, weights)
        with large_photograph() as large, served(folder) as url:
            asked = {"what": "memory", "url": url, "query": "", "large": str(large), "clicks": places(4)}
            rows.append({"model": model, "size": size, "weights": weights, **ask("measure.mjs", asked)})
        print(json.dumps(rows[-1]), flush=True)
    write(
        "web_memory",
        f"after a photograph of {LARGE[0]}x{LARGE[1]} and five objects; page: as Chromium counts it "
        "(measureUserAgentSpecificMemory), WebAssembly's included; process: private bytes of its process, with "
        "Chromium's own parts",
        {"rows": rows},
    )


def masks(pages: Path) -> None:
    rows = []
    for name, size, weights in MASKS:
        folder = page(pages, name, size, weights)
        predictor = samlet.Predictor(samlet.load(MODELS[name]), size)
        expected: list[Any] = []
        asked = []
        for path in bundled_photographs():
            predictor.set_image(path)
            prompts = []
            for x, y in CLICKS[path.name]:
                click = {"x": x, "y": y, "positive": True}
                one = predictor.predict([[[x, y]]], multimask=True).best().masks[0, 0]
                across, down = np.flatnonzero(one.any(0)), np.flatnonzero(one.any(1))
                box = [float(v) for v in (across[0], down[0], across[-1], down[-1])]
                expected += [
                    one,
                    predictor.predict(boxes=[box], multimask=True).best().masks[0, 0],
                    predictor.predict([[[x, y]]], boxes=[box], multimask=False).masks[0, 0],
                ]
                prompts += [
                    {"box": None, "clicks": [click]},
                    {"box": box, "clicks": []},
                    {"box": box, "clicks": [click]},
                ]
            asked.append({"path": str(path), "prompts": prompts})
        with served(folder) as url:
            told = ask("answers.mjs", {"url": url, "photographs": asked})
        found = [coco_mask.decode(one["rle"]).astype(bool) for each in told["photographs"] for one in each["answers"]]
        ious = [float((a & b).sum() / max(1, (a | b).sum())) for a, b in zip(found, expected, strict=True)]
        rows.append(
            {
                "model": name,
                "size": size,
                "weights": weights,
                "graph_bytes": sum(path.stat().st_size for path in (folder / "model").glob("*.onnx.gz")),
                "mean_iou": float(np.mean(ious)),
                "worst_iou": min(ious),
                "prompts": len(ious),
            }
        )
        print(json.dumps(rows[-1]))
    write(
        "web_masks",
        "the page's masks, asked in Chromium, against the float32 model in PyTorch: clicks on the bundled photographs, "
        "the boxes of their masks, and both together; what the page picks by itself",
        {"rows": rows},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["speed", "memory", "masks"], metavar="speed|memory|masks")
    parser.add_argument("--pages", type=Path, metavar="DIR", help="where pages are made or already stand")
    parser.add_argument("--clicks", type=int, default=20, metavar="N")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        pages = options.pages or Path(temporary)
        if "speed" in options.what:
            speed(pages, options.clicks)
        if "memory" in options.what:
            memory(pages)
        if "masks" in options.what:
            masks(pages)


if __name__ == "__main__":
    main()
