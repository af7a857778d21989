"""The options of `samlet web`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samlet.cli.parsers.common import RUNNABLE, add_command, add_machine, add_model, choice

_PORT = 8000


def add_web(commands: Any) -> None:
    """Add `samlet web`."""
    parser = add_command(
        commands,
        "web",
        "a page on which the model segments photographs in the browser",
        "Writes a static folder that any web server can hold, GitHub Pages included: the page, the model, the runtime\n"
        "(onnxruntime-web) and some photographs. Everything is computed in the browser, nothing is uploaded, nothing\n"
        "is fetched from elsewhere. After the first visit the page works offline.\n\n"
        "The graphs are asked beside the model first; they must give its masks, or nothing is written.\n\n"
        "M may also be a page that was written before; --serve then shows it. Any other web server will do, too.",
    )
    add_model(parser, f"{RUNNABLE}; of the exported ones those for onnx")
    parser.add_argument("--out", type=Path, metavar="DIR", help="a new folder; with --serve it may be left out")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier page in DIR")
    parser.add_argument(
        "--serve",
        nargs="?",
        type=int,
        const=_PORT,
        metavar="PORT",
        help=f"serve the page to this machine until Ctrl+C; {_PORT} if no port is named, 0 for any that is free",
    )
    parser.add_argument(
        "--size",
        type=int,
        default=512,
        metavar="N",
        help="side of the encoder's square input in pixels, a multiple of 16: 512, or 1024, which is finer and four "
        "times slower; default %(default)s",
    )
    choice(
        parser,
        "--weights",
        {
            "auto": "the most exact with which visitors load at most 15 MB, else int8",
            "float32": "as they are",
            "float16": "half the bytes",
            "int8": "a quarter, one scale for each output channel; the page computes in float32",
        },
        "auto",
        "how weights are stored",
    )
    add_machine(parser, seed=True)
