"""Downloading from the Hugging Face hub: samlet's own code beside `huggingface_hub`, from a hub on this machine.

python benchmarks/hub_download.py [--size 64] [--speed 16] [--repeats 3]

Three questions, each in a fresh process, timed from the call to its end: how many bytes a second call asks for after a
first one was killed half-way; how long it takes to hear that there is no network (nobody listens at the port, or the
name is unknown), and in how many lines; how long a download takes that nothing disturbs.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import RESULTS, write
from local_hub import LocalHub

NAME, FILE = "someone/model", "model.pth"
TIMED = """
import sys, time
{imports}
began = time.perf_counter()
try:
    {call}
except Exception as error:
    raise {error}
finally:
    print(time.perf_counter() - began)
"""
CODE = {
    "samlet": TIMED.format(
        imports="from samlet.zoo import locate",
        call="locate('someone/model/model.pth')",
        error="SystemExit(f'samlet: {error}')",  # as the command line tells it
    ),
    "huggingface_hub": TIMED.format(
        imports="from huggingface_hub import hf_hub_download",
        call="hf_hub_download('someone/model', 'model.pth')",
        error="error",
    ),
}
FAILED_AFTER_S = 300.0


def environment(home: Path, endpoint: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "SAMLET_"))}
    return {**kept, "HF_HOME": str(home), "XDG_CACHE_HOME": str(home), "HF_ENDPOINT": endpoint, "NO_PROXY": "*"}


def killed_and_continued(code: str, hub: LocalHub, size: int) -> dict[str, Any]:
    """Kill a download half-way, then download again."""
    with tempfile.TemporaryDirectory() as home:
        variables = environment(Path(home), hub.url)
        hub.sent = 0
        with subprocess.Popen([sys.executable, "-c", code], env=variables, stderr=subprocess.DEVNULL) as process:
            while hub.sent < size / 2 and process.poll() is None:
                time.sleep(0.01)
            process.kill()
        time.sleep(0.5)  # what is on its way
        hub.sent = 0
        hub.gets.clear()
        run = [sys.executable, "-c", code]
        done = subprocess.run(run, env=variables, check=True, capture_output=True, text=True)
        again = {"bytes_again": hub.sent, "share_again": hub.sent / size, "range": hub.gets[-1].range}
        return {**again, "seconds": float(done.stdout)}


def undisturbed(code: str, hub: LocalHub) -> float:
    with tempfile.TemporaryDirectory() as home:
        run = [sys.executable, "-c", code]
        done = subprocess.run(run, env=environment(Path(home), hub.url), check=True, capture_output=True, text=True)
        return float(done.stdout)


def unreachable(code: str, endpoint: str) -> dict[str, Any]:
    """Seconds until the failure is told, and the lines that tell it; None where that takes too long."""
    with tempfile.TemporaryDirectory() as home:
        run = [sys.executable, "-c", code]
        try:
            done = subprocess.run(
                run,
                env=environment(Path(home), endpoint),
                capture_output=True,
                text=True,
                timeout=FAILED_AFTER_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"seconds": None, "lines": None, "last_line": None}
        lines = done.stderr.strip().splitlines()
        if not done.returncode or not lines:
            raise SystemExit(f"{endpoint} answered: {done.stdout}{done.stderr}")
        return {"seconds": float(done.stdout), "lines": len(lines), "last_line": lines[-1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64, help="of the file, MB")
    parser.add_argument("--speed", type=int, default=16, help="of the hub, MB a second")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    size = options.size * 10**6
    hub = LocalHub()
    hub.put(NAME, {FILE: os.urandom(size)})
    closed = LocalHub()  # its port is free again, and nobody listens there
    closed.stop()
    rows: dict[str, dict[str, Any]] = {name: {"whole_s": []} for name in CODE}
    for name, code in CODE.items():
        hub.bytes_a_second = options.speed * 10**6
        rows[name]["continued"] = killed_and_continued(code, hub, size)
        rows[name]["refused"] = unreachable(code, closed.url)
        rows[name]["unknown_host"] = unreachable(code, "http://hub.invalid")
    hub.bytes_a_second = 0
    for _ in range(options.repeats):  # in turns
        for name, code in CODE.items():
            rows[name]["whole_s"].append(undisturbed(code, hub))
    for row in rows.values():
        row["whole_s"] = statistics.median(row["whole_s"])
    hub.stop()
    write(
        "hub_download",
        f"one file of {options.size} MB from a hub on this machine, {options.speed} MB/s where it is killed half-way; "
        "no network: a port where nobody listens, and a host name that cannot be resolved; each in a fresh process, "
        f"timed from the call; whole download: median of {options.repeats} in turns",
        {"rows": rows, "huggingface_hub": importlib.metadata.version("huggingface_hub")},
        options.out,
    )


if __name__ == "__main__":
    main()
