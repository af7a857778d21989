"""`samlet serve` under load on loopback: clients that send photographs and prompts at once, its errors and its memory.

python benchmarks/serving.py [--clients 32] [--seconds 180] [--image-size 512] [--threads 2]
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from common import RESULTS, ROOT, write
from samlet.data.bundled import bundled_photographs

_LEAST = 10  # samples of memory
_BROKEN = b"\xff\xd8\xff\xe0 not a whole photograph"


class Client(threading.Thread):
    """One client: a photograph, some prompts on it, the next photograph.

    Args:
        port: of the service.
        photographs: files.
        seed: of what it asks.
        until: when it stops, seconds of `time.monotonic`.
    """

    def __init__(self, port: int, photographs: list[bytes], seed: int, until: float) -> None:
        super().__init__(daemon=True)
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.photographs, self.random, self.until = photographs, random.Random(seed), until
        self.statuses: Counter[str] = Counter()
        self.seconds: dict[str, list[float]] = {"photograph": [], "prompt": []}
        self.failures: list[str] = []

    def ask(self, kind: str, path: str, body: bytes, expected: tuple[int, ...]) -> dict[str, Any] | None:
        """One request, timed; what is answered, or None where it is an expected refusal."""
        start = time.perf_counter()
        self.connection.request(
            "POST", path, body, {"Content-Type": "application/json" if kind == "prompt" else "image/jpeg"}
        )
        answer = self.connection.getresponse()
        content = json.loads(answer.read())
        self.statuses[f"{kind} {answer.status}"] += 1
        if answer.status == 200:
            self.seconds[kind].append(time.perf_counter() - start)
            return dict(content)
        if answer.status not in expected:
            self.failures.append(f"{kind}: {answer.status} {content}")
        return None

    def run(self) -> None:
        try:
            while time.monotonic() < self.until:
                self._round()
        except Exception as error:
            self.failures.append(repr(error))
        finally:
            self.connection.close()

    def _round(self) -> None:
        if self.random.random() < 0.05:
            self.ask("photograph", "/images", _BROKEN, (400, 415))
        held = self.ask("photograph", "/images", self.random.choice(self.photographs), ())
        for _ in range(5):
            if held is None or time.monotonic() >= self.until:
                return
            prompts = [self._prompt(held) for _ in range(self.random.randint(1, 4))]
            body = json.dumps({"prompts": prompts}).encode()
            if self.ask("prompt", f"/images/{held['image']}/masks", body, (404,)) is None:
                return  # others have sent so many photographs that this one is no longer held

    def _prompt(self, held: dict[str, Any]) -> dict[str, Any]:
        x, y = (self.random.uniform(0, held[side] - 2) for side in ("width", "height"))
        if self.random.random() < 0.5:
            return {"points": [[x, y]]}
        return {"box": [x, y, self.random.uniform(x + 1, held["width"]), self.random.uniform(y + 1, held["height"])]}


def resident(process: int) -> int:
    """Bytes of memory of a process."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmRSS:")).split()[1])


def start(options: argparse.Namespace) -> tuple[subprocess.Popen[str], int]:
    """The service and its port, once it listens."""
    command = [sys.executable, "-m", "samlet", "serve", options.model, "--port", "0", "--threads", str(options.threads)]
    command += ["--image-size", str(options.image_size), "--cache-images", str(options.cache_images)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    for line in process.stderr:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if found:
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return process, int(found[1])
    raise SystemExit(f"the service ended with {process.wait()}")


def quantiles(values: list[float]) -> dict[str, float]:
    """Median and the slowest in a hundred."""
    ordered = sorted(values)
    return {"median": statistics.median(ordered), "p99": ordered[int(0.99 * (len(ordered) - 1))]} if ordered else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mobile_sam")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--cache-images", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    photographs = [path.read_bytes() for path in bundled_photographs()]
    process, port = start(options)
    try:
        began = time.monotonic()
        clients = [Client(port, photographs, seed, began + options.seconds) for seed in range(options.clients)]
        for client in clients:
            client.start()
        memory = []
        while any(client.is_alive() for client in clients):
            memory.append(resident(process.pid))
            time.sleep(min(1.0, options.seconds / _LEAST / 2))
        took = time.monotonic() - began
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
    statuses: Counter[str] = sum((client.statuses for client in clients), Counter())
    failures = [failure for client in clients for failure in client.failures]
    quarter = max(1, len(memory) // 4)
    second, last = (statistics.median(part) for part in (memory[quarter : 2 * quarter], memory[-quarter:]))
    write(
        "serving",
        f"samlet serve {options.model} at {options.image_size} px, embeddings of {options.cache_images} photographs "
        f"kept; {options.clients} clients on loopback for {options.seconds:g} s, each sending one of "
        f"{len(photographs)} photographs and up to five requests of one to four points or boxes on it, one round in "
        "twenty with a broken photograph; seconds: of a request that succeeds, waiting included; growth: resident "
        "memory of the service, median of the last quarter over that of the second; gone: prompts on a photograph that "
        "was no longer kept; seed: the client's number",
        {
            "requests": sum(statuses.values()),
            "requests_per_second": sum(statuses.values()) / took,
            "failures": len(failures),
            "first_failure": failures[0] if failures else None,
            "gone": statuses["prompt 404"],
            "broken_refused": statuses["photograph 400"] + statuses["photograph 415"],
            "statuses": dict(sorted(statuses.items())),
            "photograph_s": quantiles([value for client in clients for value in client.seconds["photograph"]]),
            "prompt_s": quantiles([value for client in clients for value in client.seconds["prompt"]]),
            "memory_bytes": {"least": min(memory), "peak": max(memory), "last": memory[-1], "growth": last / second},
        },
        options.out,
    )


if __name__ == "__main__":
    main()
