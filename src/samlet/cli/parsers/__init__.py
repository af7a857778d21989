"""The parser: every command with its options. The work is imported only when a command runs."""

from __future__ import annotations

from samlet._version import __version__
from samlet.cli.completion import SHELLS
from samlet.cli.parsers.common import Parser
from samlet.cli.parsers.convert import add_convert
from samlet.cli.parsers.demo import add_demo
from samlet.cli.parsers.distill import add_distill
from samlet.cli.parsers.evaluation import add_compare, add_evaluate
from samlet.cli.parsers.export import add_export
from samlet.cli.parsers.label import add_label
from samlet.cli.parsers.models import add_cost, add_models
from samlet.cli.parsers.photos import add_photos
from samlet.cli.parsers.push import add_push
from samlet.cli.parsers.quantize import add_quantize
from samlet.cli.parsers.review import add_review
from samlet.cli.parsers.save import add_save
from samlet.cli.parsers.segment import add_segment
from samlet.cli.parsers.serve import add_serve
from samlet.cli.parsers.slim import add_slim
from samlet.cli.parsers.web import add_web

FIRST_STEPS = """samlet makes Segment Anything Models small. Three things to begin with:

Masks for a click, or for everything in a photograph:
  samlet segment photo.jpg --point 500,375 --out masks
  samlet segment photo.jpg --everything --out masks

A smaller model, made with your own photographs, no labels needed:
  samlet slim --teacher mobile_sam --images photos --minutes 60 --image-size 512 --out small

A page that shows what that brings, in five minutes, with nothing of your own:
  samlet demo

`samlet --help` lists all commands, `samlet COMMAND --help` says more about one."""
"""What `samlet` alone says."""


def build_parser() -> Parser:
    """The parser of the whole command line."""
    parser = Parser(
        prog="samlet",
        description="Make Segment Anything Models small, and prove it.",
        epilog="`samlet COMMAND --help` says more. Exit codes: 0 done, 1 failed, 2 your input needs mending.",
    )
    parser.add_argument("--version", action="version", version=f"samlet {__version__}")
    parser.add_argument(
        "--completion",
        choices=SHELLS,
        metavar="SHELL",
        help="print what makes a shell complete commands, options and models: bash, zsh or fish. For bash, put "
        'eval "$(samlet --completion bash)" into ~/.bashrc',
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    add_demo(commands)
    add_photos(commands)
    add_models(commands)
    add_segment(commands)
    add_cost(commands)
    add_slim(commands)
    add_distill(commands)
    add_label(commands)
    add_review(commands)
    add_convert(commands)
    add_quantize(commands)
    add_save(commands)
    add_export(commands)
    add_web(commands)
    add_push(commands)
    add_serve(commands)
    add_evaluate(commands)
    add_compare(commands)
    return parser
