"""The options of `samlet serve`."""

from __future__ import annotations

from typing import Any

from samlet.cli.parsers.common import RUNNABLE, add_command, add_image_size, add_machine, add_model


def add_serve(commands: Any) -> None:
    """Add `samlet serve`."""
    parser = add_command(
        commands,
        "serve",
        "a model behind HTTP: pictures, prompts, everything mode, and a Label Studio ML backend",
        "Serve a model on this machine. POST a picture to /images, prompts to /images/ID/masks, or\n"
        "/images/ID/everything; /docs shows all of it, /openapi.json describes it, /health says how it does.\n"
        "Label Studio takes the address as an ML backend: /setup, /predict and /health are its routes.\n\n"
        "One thread runs the model. Prompts that come together for one picture are decoded together; embeddings of\n"
        "the last pictures are kept. Needs `pip install 'samlet[serve]'`.",
    )
    add_model(parser, RUNNABLE)
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="H", help="address to listen on; default %(default)s, this machine alone"
    )
    parser.add_argument("--port", type=int, default=8000, metavar="P", help="0 for any free one; default %(default)s")
    parser.add_argument(
        "--label-studio",
        metavar="ADDRESS",
        help="of the Label Studio whose pictures may be fetched, such as http://localhost:8080; its token is taken "
        "from the environment variable LABEL_STUDIO_API_KEY",
    )
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let scripts of web pages from there ask (CORS), such as http://localhost:3000; * for pages from "
        "everywhere. May be repeated; no page of another address if not given",
    )
    add_image_size(parser)
    limits = parser.add_argument_group("limits")
    numbers: list[tuple[str, Any, Any, str]] = [
        ("--max-megabytes", float, 20.0, "of one request"),
        ("--max-megapixels", float, 40.0, "of one picture"),
        ("--max-prompts", int, 64, "of one request, and decoded together"),
        ("--timeout", float, 60.0, "seconds after which a request is given up"),
        ("--cache-images", int, 32, "embeddings that are kept"),
        ("--cache-megabytes", float, 500.0, "that they take at most"),
    ]
    for name, kind, default, what in numbers:
        limits.add_argument(name, type=kind, default=default, metavar="N", help=f"{what}; default %(default)g")
    add_machine(parser)
