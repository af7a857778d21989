"""`samlet serve`."""

from __future__ import annotations

import argparse
import importlib
import ipaddress
import socket
from pathlib import Path
from typing import Any

from samlet.cli.common import load_to_run, note, set_up
from samlet.errors import InputError
from samlet.serve import ServeSettings


def run(options: argparse.Namespace) -> None:
    """Serve one model until it is stopped."""
    if not 0 <= options.port < 1 << 16:
        raise InputError(f"--port is {options.port}; expected 0 (any free one) to 65535")
    try:
        uvicorn: Any = importlib.import_module("uvicorn")
        importlib.import_module("fastapi")
    except ImportError as error:
        raise InputError(
            f"serving needs {error.name}, which is not installed; run: pip install 'samlet[serve]'"
        ) from error
    settings = ServeSettings(
        image_size=options.image_size,
        max_bytes=_millions(options.max_megabytes, "--max-megabytes"),
        max_pixels=_millions(options.max_megapixels, "--max-megapixels"),
        max_prompts=options.max_prompts,
        timeout_s=options.timeout,
        cache_images=options.cache_images,
        cache_bytes=_millions(options.cache_megabytes, "--cache-megabytes"),
        label_studio=options.label_studio,
        allow_origins=tuple(options.allow_origin),
    )
    with _listening(options.host, options.port) as listener:
        from samlet.serve.app import create_app

        model = load_to_run(options.model, set_up(options))
        app = create_app(model, settings, Path(options.model).name)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        note(f"samlet: http://{shown}:{port} answers for {options.model}; /docs says how to ask, Ctrl-C stops it")
        if not ipaddress.ip_address(host).is_loopback:
            note("samlet: others on the network can reach it, and it asks for no password")
        config = uvicorn.Config(
            app,
            log_level="warning",
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
            limit_concurrency=4 * settings.max_waiting,
        )
        uvicorn.Server(config).run(sockets=[listener])


def _millions(value: float, option: str) -> int:
    """A number of millions as a whole one; raises InputError where it is none."""
    if not 0 < value < 10**6:
        raise InputError(f"{option} is {value:g}; expected a number above 0 and below a million")
    return round(value * 1e6)


def _listening(host: str, port: int) -> socket.socket:
    """A socket of our own on an address; raises InputError where there is none to be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.create_server(address[:2], family=family, backlog=256)
    except OSError as error:
        reason = str(error.strerror or error).partition(" (while")[0]  # Python repeats the address there
        raise InputError(
            f"{host}:{port} cannot be listened on: {reason}; name another --port (0 for any free one) or --host"
        ) from error
    return made
