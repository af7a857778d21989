"""The options of `samlet demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samlet import bounds
from samlet.cli.parsers.common import add_command, whole


def add_demo(commands: Any) -> None:
    """Add `samlet demo`."""
    parser = add_command(
        commands,
        "demo",
        "a first look: segment a photograph, make a small model in minutes, see both on a page",
        "Works at once: the model and the photographs come with samlet, nothing is downloaded. First a click on a\n"
        "photograph is answered, within seconds. Then MobileSAM's image encoder is made three times cheaper on eight\n"
        "photographs (`samlet slim`), in the time that --minutes gives: a slow machine makes fewer steps in it. At\n"
        "the end index.html, one page that needs no network, shows the masks of teacher and small model side by\n"
        "side, what both cost, and the commands to go on with. A demo that was stopped continues.",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("demo"), metavar="DIR", help="a new folder; default %(default)s"
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=4.0,
        metavar="M",
        help="time of the slimming, its figures included; default %(default)g",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier demo in DIR")
    parser.add_argument(
        "--image-size",
        type=whole(bounds.IMAGE_SIZE),
        default=512,
        metavar="N",
        help="side of the encoder's input while slimming, pixels, a multiple of 16; default %(default)s",
    )
    group = parser.add_argument_group("machine")
    group.add_argument("--threads", type=whole(bounds.THREADS), metavar="N", help="CPU threads; all cores if not given")
    group.add_argument("--seed", type=whole(bounds.SEED), default=0, metavar="N", help="default %(default)s")
    parser.set_defaults(device="cpu")
