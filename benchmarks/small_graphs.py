"""Whether `onnxslim` or ONNX Runtime's own optimiser, run once on our ONNX files, makes them smaller or faster.

python benchmarks/small_graphs.py [--model mobile_sam] [--image-size 1024] [--repeats 15] [--models DIR]

ONNX Runtime optimises every graph again when it opens it (as `samlet` does, at its highest level), so what is written
beforehand can only save the time of opening, or find what the runtime does not. Needs `pip install onnxslim`.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from common import RESULTS, ROOT, write
from samlet.export import onnx_graphs
from samlet.export.config import ExportConfig
from samlet.zoo import load_weights

runtime: Any = importlib.import_module("onnxruntime")
SIZES = ("one size", "any size")
OPTIMISERS = ("as written", "onnxslim", "runtime, basic", "runtime, extended")


def optimised(source: Path, target: Path, how: str, threads: int) -> None:
    """Write a graph again as an optimiser leaves it."""
    if how == "onnxslim":
        try:
            onnxslim: Any = importlib.import_module("onnxslim")
        except ImportError as error:
            raise SystemExit("this needs onnxslim: pip install onnxslim") from error
        onnx.save_model(onnxslim.slim(onnx.load(source)), target)
        return
    levels = runtime.GraphOptimizationLevel
    options = _options(threads)
    basic = how.endswith("basic")
    options.graph_optimization_level = levels.ORT_ENABLE_BASIC if basic else levels.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _options(threads: int) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    return options


def opened(path: Path, threads: int) -> tuple[Any, float]:
    began = time.process_time()
    session = runtime.InferenceSession(path, _options(threads), providers=["CPUExecutionProvider"])
    return session, time.process_time() - began


def example(session: Any, side: int) -> dict[str, np.ndarray]:
    """An input of some shape for each of the graph's, of one image and one prompt."""
    source = np.random.default_rng(0)
    given = {}
    for one in session.get_inputs():
        shape = [_extent(one.name, axis, n, side) for axis, n in enumerate(one.shape)]
        kind = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}[one.type]
        given[one.name] = (source.random(shape) if kind is np.float32 else np.ones(shape)).astype(kind)
    return given


def _extent(name: str, axis: int, known: int | str, side: int) -> int:
    """The length of an axis; of an open one, what the input of this name takes."""
    if isinstance(known, int):
        return known
    return {"image": side, "embedding": side // 16, "mask": side // 4}.get(name, 1) if axis > 1 else 1


def measure(files: dict[str, Path], threads: int, repeats: int, side: int) -> dict[str, dict[str, Any]]:
    """Nodes, bytes, CPU seconds to open and to run, and how far answers are from those of the graph as written."""
    sessions, rows = {}, {}
    for name, path in files.items():
        times = []
        for _ in range(3):
            sessions[name], seconds = opened(path, threads)
            times.append(seconds)
        model = onnx.load(path)
        rows[name] = {"nodes": len(model.graph.node), "bytes": path.stat().st_size, "open_cpu_s": min(times)}
    given = example(sessions["as written"], side)
    answers: dict[str, list[np.ndarray]] = {}
    spent: dict[str, list[float]] = {name: [] for name in files}
    for turn in range(repeats + 1):
        first = turn % len(sessions)
        order = [*sessions][first:] + [*sessions][:first]  # whoever comes first finds other things in the cache
        for name in order:
            session = sessions[name]
            began = time.process_time()
            answers[name] = session.run(None, given)
            if turn:  # the first warms up
                spent[name].append(time.process_time() - began)
    for name, row in rows.items():
        pairs = zip(answers["as written"], answers[name], strict=True)
        row |= {
            "median_cpu_s": statistics.median(spent[name]),
            "ratio": statistics.median(
                mine / plain for mine, plain in zip(spent[name], spent["as written"], strict=True)
            ),
            "largest_difference": max(float(np.abs(a.astype(np.float64) - b).max()) for a, b in pairs),
        }
    return rows


def graphs(folder: Path, threads: int, kept: Callable[[str], bool]) -> dict[str, dict[str, Path]]:
    """The graphs of an export, each as every optimiser leaves it."""
    found: dict[str, dict[str, Path]] = {}
    for source in sorted(path for path in folder.glob("*.onnx") if kept(path.stem)):
        found[source.stem] = {"as written": source}
        for how in OPTIMISERS[1:]:
            target = folder / "optimised" / f"{source.stem}-{how.replace(', ', '-')}.onnx"
            target.parent.mkdir(exist_ok=True)
            optimised(source, target, how, threads)
            found[source.stem][how] = target
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mobile_sam")
    parser.add_argument("--image-size", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--only", nargs="+", help="graphs by name")
    parser.add_argument("--models", type=Path, default=ROOT / "runs" / "small_graphs", help="where the export is kept")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    side = options.image_size
    rows = {}
    for sizes in SIZES:
        folder = options.models / f"{Path(options.model).name}-{side if sizes == 'one size' else 'any'}"
        if not folder.is_dir():
            folder.mkdir(parents=True)
            config = ExportConfig(to="onnx", image_size=side if sizes == "one size" else None)
            onnx_graphs.write(load_weights(options.model), folder, config)
        for graph, files in graphs(folder, options.threads, lambda n: not options.only or n in options.only).items():
            found = measure(files, options.threads, options.repeats, side)
            rows[f"{graph}, {sizes}"] = found
            for how, row in found.items():
                print(f"{graph}, {sizes}: {how:20} {row}", flush=True)
    versions = {name: importlib.metadata.version(name) for name in ("onnxslim", "onnxruntime", "onnx")}
    write(
        "small_graphs",
        f"{options.model} exported to ONNX, float32, for inputs of one size and of any; every graph written again by "
        f"each optimiser; opened and run at {side} px by ONNX Runtime at its highest level, one prompt: CPU time, "
        f"least of 3 openings, median of {options.repeats} runs in turns, median of the ratios within a turn",
        {"rows": rows, "versions": versions},
        options.out,
        quiet=True,
    )


if __name__ == "__main__":
    main()
