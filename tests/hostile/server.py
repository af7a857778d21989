"""Runs samlet's commands in processes of their own, forked from one that has everything imported.

Reads one JSON request a line: `arguments`, `cwd`, `seconds`, `memory` (bytes), `stop` (signal and seconds, or null),
`environment`. Answers one JSON line: `code`, `signal`, `seconds`, `memory` (bytes that were added), `timed_out`, `out`,
`err`, `alive` (processes that the command left behind).
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

POLL = 0.004  # seconds


def import_everything() -> None:
    import samlet.cli as commands

    for info in pkgutil.walk_packages(commands.__path__, "samlet.cli."):
        importlib.import_module(info.name)
    for name in ("onnxruntime", "openvino", "av", "PIL.TiffImagePlugin", "lightning_fabric", "matplotlib.figure"):
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    from PIL import Image

    Image.init()
    commands.main(["models", "--json"])  # what is imported on its first use


def _resident(pid: int | str = "self") -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def _virtual() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _child(request: dict, out: Path, err: Path) -> None:
    os.setsid()
    for number, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    os.close(0)
    os.open(os.devnull, os.O_RDONLY)
    os.chdir(request["cwd"])
    os.environ.update(request.get("environment") or {})
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request["memory"]:
        limit = _virtual() + 2 * request["memory"]
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as a new process has them
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    code = 70
    try:
        from samlet.cli import main

        code = main([os.fsdecode(os.fsencode(word)) for word in request["arguments"]])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except KeyboardInterrupt:
        code = 130  # it came before the command began
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                continue
        os._exit(code)


def _computed(pid: int) -> float:
    """Seconds that a process has computed for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _group(leader: int) -> list[int]:
    """Living processes of a session, zombies apart."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == leader and fields[0] not in "ZX":
                found.append(int(entry.name))
    return found


def handle(request: dict) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        before = _resident()
        began = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            _child(request, out, err)
        stop = request.get("stop")
        timed_out = stopped = False
        while True:
            found, status, usage = os.wait4(pid, os.WNOHANG)
            passed = time.perf_counter() - began
            if found:
                break
            if stop and not stopped and passed >= stop[1]:
                os.kill(pid, stop[0])
                stopped = True
            if passed > request["seconds"] or _computed(pid) > request.get("cpu", 20.0):
                timed_out = True
                os.kill(pid, signal.SIGKILL)
                _, status, usage = os.wait4(pid, 0)
                break
            time.sleep(POLL)
        patience = time.perf_counter() + request.get("patience", 1.0)
        while (alive := _group(pid)) and time.perf_counter() < patience:
            time.sleep(POLL)
        for one in alive:
            os.kill(one, signal.SIGKILL)
        return {
            "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
            "seconds": passed,
            "cpu": usage.ru_utime + usage.ru_stime,
            "memory": max(0, usage.ru_maxrss * 1024 - before),
            "timed_out": timed_out,
            "stopped": stopped,
            "out": out.read_text(errors="backslashreplace") if out.exists() else "",
            "err": err.read_text(errors="backslashreplace") if err.exists() else "",
            "alive": len(alive),
        }


def serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    import_everything()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(handle(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    serve()
