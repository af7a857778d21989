"""`samlet web`."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from pathlib import Path
from typing import Any

from samlet.cli.common import load_to_run, note, set_up, show
from samlet.errors import InputError
from samlet.io.paths import expanded
from samlet.io.progress import working
from samlet.web import PageServer, WebConfig, WebPage, make_page
from samlet.web.config import FIRST_LOAD
from samlet.web.folder import check_folder, is_page
from samlet.web.page import check_page
from samlet.zoo import ENTRIES, locate


def run(options: argparse.Namespace) -> None:
    """Write the page, and serve it if asked to."""
    page = expanded(options.model)
    if options.model not in ENTRIES and is_page(page):
        _serve_page(page, options)
        return
    if options.out is None and options.serve is None:
        raise InputError("neither --out nor --serve was given; expected a folder to write to, or --serve to look at it")
    device = set_up(options)
    with contextlib.ExitStack() as stack:
        folder = options.out
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="samlet-web-")))
        server = None
        if options.serve is not None:  # a port in use is told before anything is computed
            server = stack.enter_context(PageServer(expanded(folder).resolve(), options.serve))
        config = WebConfig(size=options.size, weights=options.weights, seed=options.seed)
        check_folder(folder, options.overwrite)
        model = load_to_run(options.model, device)
        check_page(model, folder, options.overwrite, config)
        note("samlet: writing the graphs and comparing their masks with the model's; that takes some minutes")
        with working("making the page"):
            made = make_page(
                model,
                folder,
                name=Path(options.model).name,
                overwrite=options.overwrite,
                notices=locate(options.model),
                **vars(config),
            )
        if made.first_load_bytes > FIRST_LOAD:
            note(
                f"samlet: the first load is {made.first_load_bytes / 1e6:.1f} MB; people on phones wait less for at "
                f"most {FIRST_LOAD / 1e6:.0f} MB"
            )
        show(options, to_json(made, server), text(made, server))
        if server is not None:
            with contextlib.suppress(KeyboardInterrupt):
                server.serve_forever()


def _serve_page(page: Path, options: argparse.Namespace) -> None:
    """Serve a page that was written before."""
    if options.out is not None or options.serve is None:
        raise InputError(f"{page} is a page already and no model; `samlet web {page} --serve` shows it")
    with PageServer(page.resolve(), options.serve) as server:
        show(options, {"url": server.url}, f"Look at {server.url} (Ctrl+C ends it)")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


def to_json(made: WebPage, server: PageServer | None) -> dict[str, Any]:
    """The keys of `samlet web --json`."""
    return {
        "files": [{"path": name, "bytes": size} for name, size in made.files.items()],
        "first_load_bytes": made.first_load_bytes,
        "url": None if server is None else server.url,
        "weights": made.graphs.stored,
        "agreement": made.graphs.agreement,
        "worst": made.graphs.worst,
        "prompts": made.graphs.prompts,
        "size": made.config.size,
        "seconds": made.seconds,
    }


def text(made: WebPage, server: PageServer | None) -> str:
    """What a person reads."""
    found = made.graphs
    lines = [
        f"{found.stored} weights, mask IoU with the model {found.agreement:.4f} (least {found.worst:.4f}) over "
        f"{found.prompts} prompts",
        f"{made.folder}: {len(made.files)} files, {made.first_load_bytes / 1e6:.1f} MB before the first mask",
    ]
    if server is not None:
        lines.append(f"Look at {server.url} (Ctrl+C ends it)")
    return "\n".join(lines)
