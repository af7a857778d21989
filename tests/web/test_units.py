"""The page's modules without a browser: their own tests, and the same numbers as Python's."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from samlet.data.masks import encode_rle
from samlet.data.transforms import Frame, preprocess
from tests.web.node import HERE, ROOT, node, packages, run

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

SCRIPT = """
import { readFileSync } from 'node:fs';
const page = new URL('%s/');
const { preprocess } = await import(new URL('lib/preprocess.js', page));
const { upscale } = await import(new URL('lib/interpolate.js', page));
const { toMask } = await import(new URL('lib/masks.js', page));
const { toRle } = await import(new URL('lib/rle.js', page));
const { toPolygons } = await import(new URL('lib/contours.js', page));
const asked = JSON.parse(readFileSync(0, 'utf8'));
const data = Uint8ClampedArray.from(Buffer.from(asked.rgba, 'base64'));
const { pixels, frame } = preprocess({ data, width: asked.width, height: asked.height }, asked.model);
const bytes = Buffer.from(asked.lowRes, 'base64');
const lowRes = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
const logits = upscale(lowRes, asked.rows, asked.rows, frame);
const mask = toMask(logits, asked.width, asked.height, 0);
const base64 = (values) => Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString('base64');
process.stdout.write(JSON.stringify({
  pixels: base64(pixels), logits: base64(logits), rle: toRle(mask), polygons: toPolygons(mask),
}));
"""


def test_modules_pass_their_own_tests() -> None:
    tests = [str(path) for path in sorted((HERE / "unit").glob("*.test.js"))]
    run([node(), "--test", *tests])


@pytest.mark.parametrize("size", [(427, 640), (333, 87), (64, 64), (20, 31)])
@pytest.mark.parametrize("resize", ["longest_side", "stretch_antialiased"])
def test_the_same_numbers_as_python(size: tuple[int, int], resize: str) -> None:
    import base64

    height, width = size
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (max(2, height // 8), max(2, width // 8), 3), dtype=np.uint8)
    image = np.array(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))
    rgba = np.concatenate([image, np.full((height, width, 1), 255, np.uint8)], axis=2)
    side, rows = 64, 16
    low_res = torch.from_numpy(rng.normal(size=(rows, rows)).astype(np.float32))
    asked = {
        "rgba": base64.b64encode(rgba.tobytes()).decode(),
        "width": width,
        "height": height,
        "model": {"size": side, "resize": resize, "mean": MEAN, "std": STD},
        "lowRes": base64.b64encode(low_res.numpy().tobytes()).decode(),
        "rows": rows,
    }
    script = SCRIPT % (ROOT / "src" / "samlet" / "web" / "page").as_uri()
    told = json.loads(run([node(), "--input-type=module", "--eval", script], input=json.dumps(asked)).stdout)

    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    expected, frame = preprocess(image.copy(), side, mean, std, resize)  # type: ignore[arg-type]
    pixels = np.frombuffer(base64.b64decode(told["pixels"]), np.float32).reshape(3, side, side)
    # Pillow rounds weights to fixed point: a step of one in 255 here and there.
    step = 1.01 / min(STD) if resize == "longest_side" else 2e-4
    assert np.abs(pixels - expected.numpy()).max() <= step
    assert np.abs(pixels - expected.numpy()).mean() <= 0.05 * step

    assert frame == Frame(height, width, side, resize)  # type: ignore[arg-type]
    wanted = frame.upscale(low_res[None, None])[0, 0].numpy()
    logits = np.frombuffer(base64.b64decode(told["logits"]), np.float32).reshape(height, width)
    assert np.abs(logits - wanted).max() < 1e-4

    mask = logits > 0
    assert told["rle"] == encode_rle(mask) | {"size": [height, width]}
    assert np.array_equal(_filled(told["polygons"], height, width), mask)


def _filled(polygons: list[dict], height: int, width: int) -> np.ndarray:
    """Polygons as COCO fills them; along edges of pixels that is exact."""
    made = np.zeros((height, width), bool)
    for polygon in polygons:
        made |= _ring(polygon["outer"], height, width)
        for hole in polygon["holes"]:
            made &= ~_ring(hole, height, width)
    for polygon in polygons:  # islands that stand in another region's hole
        inner = _ring(polygon["outer"], height, width)
        for hole in polygon["holes"]:
            inner &= ~_ring(hole, height, width)
        made |= inner
    return made


def _ring(ring: list[list[int]], height: int, width: int) -> np.ndarray:
    codes = coco_mask.frPyObjects([[float(value) for corner in ring for value in corner]], height, width)
    return coco_mask.decode(codes)[..., 0].astype(bool)


def test_types_and_style() -> None:
    program = packages() / ".bin"
    run([str(program / "tsc"), "--project", str(HERE / "tsconfig.json")])
    run(
        [str(program / "eslint"), "--config", "tests/web/eslint.config.js", "src/samlet/web/page", "tests/web"],
        cwd=ROOT,
    )
