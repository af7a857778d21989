"""Files with bytes changed at random, read in a process of their own: it may end in a result or in one of our errors.

A signal, a hang, too much memory or any other exception is a failure, told with the number of the change, which gives
the same bytes again.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import random
import re
import resource
import signal
import struct
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

import samlet
from samlet.checkpoints.prescan import DamagedError, UnsafeError
from samlet.io.remarks import forget

MEMORY = 1 << 30
SECONDS = 5.0  # of computing, for one change
PATIENCE = 120.0  # seconds of waiting, on a machine that has other work

HOSTILE = [
    *(b"null", b"true", b"-1", b"0", b"1e400", b"NaN", b"-Infinity", b"99999999999999999999", b'""', b"[]", b"{}"),
    *(b"0.5", b'"a"', b'"\\u0000"', b'"\\ud800"', b"2147483648", b"[" * 100 + b"]" * 100, b"[[[]]]", b'{"a": [1]}'),
    *(b'"../../x"', b"1" * 5000, b'"' + b"x" * 5000 + b'"', b"[-1, 1e300]", b"-0"),
]
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|\[|\{|null|true|false')


def changed(content: bytes, source: random.Random, text: bool) -> bytes:
    """The bytes with something wrong; of a JSON every other time a value is replaced by one of another kind."""
    if text and source.random() < 0.5 and (tokens := list(_TOKEN.finditer(content))):
        found = source.choice(tokens)
        return content[: found.start()] + source.choice(HOSTILE) + content[found.end() :]
    damaged = bytearray(content)
    kind = source.randrange(6)
    place = source.randrange(len(damaged) + 1)
    if kind == 0:
        del damaged[place:]
    elif kind == 1:
        damaged[place:place] = damaged[source.randrange(len(damaged) + 1) :][: source.randrange(200)]
    elif kind == 2:
        damaged[place : place + source.randrange(1, 40)] = bytes(source.randrange(40))
    elif kind == 3 and len(damaged) > 8:
        place = source.randrange(len(damaged) - 8)
        value = source.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63])
        damaged[place : place + 8] = struct.pack(source.choice("<>") + "Q", value)
    else:
        for _ in range(source.randrange(1, 8)):
            if damaged:
                damaged[source.randrange(len(damaged))] = source.randrange(256)
    return bytes(damaged)


def run(files: list[Path], read: Callable[[], object], count: int, seed: str) -> dict[str, int]:
    """Change one file after the other, read, and put it back, `count` times.

    Returns:
        How many changes ended in a result, and how many in an error of ours.

    Raises:
        AssertionError: one ended otherwise.
    """
    told = mmap.mmap(-1, 1 << 16)
    pid = os.fork()
    if pid == 0:
        _work(files, read, count, seed, told)
    status, number, since, computed = None, -1, time.monotonic(), 0.0
    while status is None:
        found, code = os.waitpid(pid, os.WNOHANG)
        if found:
            status = code
            break
        now = struct.unpack_from("<q", told, 0)[0]
        if now != number:
            number, since, computed = now, time.monotonic(), _computed(pid)
        if _computed(pid) - computed > SECONDS or time.monotonic() - since > PATIENCE:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise AssertionError(f"change {number} of {seed}: hangs")
        time.sleep(0.005)
    number, results, errors, length = struct.unpack_from("<qqqq", told, 0)
    assert os.WIFEXITED(status), f"change {number} of {seed}: signal {os.WTERMSIG(status)}"
    said = told[32 : 32 + length].decode(errors="replace")
    assert os.WEXITSTATUS(status) == 0, f"change {number} of {seed}: {said}"
    return {"results": results, "errors": errors}


def _computed(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _work(files: list[Path], read: Callable[[], object], count: int, seed: str, told: mmap.mmap) -> None:
    """In the child: what was done so far stands in `told`."""
    virtual = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (virtual + MEMORY, virtual + MEMORY))
    torch.set_num_threads(1)  # threads of the process before the fork are not here
    warnings.simplefilter("ignore")
    whole = {file: file.read_bytes() for file in files}
    results = errors = 0
    code, said = 0, b""
    for number in range(count):
        struct.pack_into("<q", told, 0, number)
        source = random.Random(f"{seed} {number}")
        file = files[number % len(files)]
        text = file.suffix in (".json", ".jsonl", ".xml", ".csv", ".txt", ".yaml")
        file.unlink()  # a file that is cut off and written again waits for the disk
        file.write_bytes(changed(whole[file], source, text))
        forget()
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                read()
            results += 1
        except (samlet.SamletError, DamagedError, UnsafeError) as error:
            errors += 1
            if "\n" in str(error).strip() or len(str(error)) > 4000:
                code, said = 1, f"the message is {str(error)[:1000]!r}".encode()
        except BaseException:
            code, said = 1, traceback.format_exc()[-3000:].encode()
        file.unlink()
        file.write_bytes(whole[file])
        if code:
            break
    struct.pack_into("<qqqq", told, 0, number, results, errors, len(said))
    told[32 : 32 + len(said)] = said
    os._exit(code)
