"""Pages that need nothing but themselves: pictures and styles stand inside, so a file can be mailed and opened."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

_STYLE = """
:root { color-scheme: light dark; --line: #d5dae1; --soft: #667085; --box: #f4f6f8; }
@media (prefers-color-scheme: dark) { :root { --line: #3a4048; --soft: #9aa4b2; --box: #22272e; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin-top: 2rem; }
p.soft, figcaption { color: var(--soft); font-size: .85rem; }
.row { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .5rem; margin-bottom: .75rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .75rem; }
.grid img { width: 100%; max-height: 18rem; object-fit: contain; background: var(--box); }
figure { margin: 0; } figure img { display: block;
  max-width: 100%; max-height: 22rem; border-radius: 4px; }
figcaption { padding: .2rem 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .5rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; font-weight: 600; }
img.wide { width: 100%; height: auto; background: white; border-radius: 4px; }
pre { background: var(--box); padding: .75rem; border-radius: 4px; overflow-x: auto; white-space: pre-wrap;
  overflow-wrap: anywhere; }
@media (max-width: 600px) { body { padding: .6rem; font-size: 15px; } th, td { padding: .3rem; font-size: .8rem; }
  .row { gap: .3rem; } figcaption { font-size: .72rem; } }
"""


def text(value: str) -> str:
    """Text for a page, nothing in it taken for markup."""
    return html.escape(value)


def photograph(image: Image.Image, side: int = 480) -> str:
    """The address of a picture that stands in the page itself: JPEG, at most `side` pixels wide and high."""
    image = image.convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    image.save(written, format="JPEG", quality=85, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(written.getvalue()).decode()


def drawing(path: Path) -> str:
    """The address of a PNG file that stands in the page itself."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def figure(address: str, caption: str) -> str:
    """A picture with a caption under it, which also says what it shows to who cannot see it."""
    return f'<figure><img src="{address}" alt="{text(caption)}"><figcaption>{text(caption)}</figcaption></figure>'


def linked(address: str, caption: str) -> str:
    """A picture in a file beside the page, read when it comes into view, which a click shows alone."""
    return (
        f'<figure><a href="{text(address)}"><img src="{text(address)}" alt="{text(caption)}" loading="lazy"></a>'
        f"<figcaption>{text(caption)}</figcaption></figure>"
    )


def grid(figures: Sequence[str]) -> str:
    """Pictures in as many columns as fit."""
    return f'<div class="grid">{"".join(figures)}</div>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column names the rows."""
    top = "".join(f"<th>{text(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def page(title: str, parts: Sequence[str]) -> str:
    """A whole page of these parts, in this order."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main><h1>{text(title)}</h1>\n"
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    )
