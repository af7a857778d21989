"""The options of `samlet push`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samlet.cli.parsers.common import add_command


def add_push(commands: Any) -> None:
    """Add `samlet push`."""
    parser = add_command(
        commands,
        "push",
        "a model folder on the Hugging Face hub, with its card",
        "Upload a model folder to the Hugging Face hub, where ORG/NAME is a model for every command. The card\n"
        "(README.md) is made from the model's provenance. HF_TOKEN, or the file that `hf auth login` writes, has the\n"
        "token; HF_ENDPOINT names another hub. Needs `pip install 'samlet[hf]'`.",
    )
    parser.add_argument("model_dir", type=Path, metavar="DIR", help="a model folder, also of an exported model")
    parser.add_argument("repository", metavar="ORG/NAME", help="the repository, which is made where there is none")
    parser.add_argument("--private", action="store_true", help="make a private repository")
    parser.add_argument(
        "--licence",
        metavar="NAME",
        help="of the weights, such as Apache-2.0; if not given, that of the zoo model that it was made from",
    )
    parser.add_argument("--message", metavar="TEXT", help="of the commit")
    parser.add_argument(
        "--replace-card", action="store_true", help="replace the README.md of a repository that has one"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the card and the files, and upload nothing")
