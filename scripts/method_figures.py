"""Draw docs/explanation/slimming.svg and distillation.svg: the steps of both methods, as boxes and arrows.

python scripts/method_figures.py
"""

from __future__ import annotations

from html import escape
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "explanation"
WIDTH, HEIGHT, GAP = 176, 118, 30
TRAINED, CUT, FIXED = "#feebc8", "#fed7d7", "#e2e8f0"

Box = tuple[str, str, str]
"""Title, sentence, colour."""

SLIMMING: tuple[Box, ...] = (
    ("Teacher", "the encoder as it is", FIXED),
    ("1. Embedding pruning", "score the channels of the residual stream, cut the lowest", CUT),
    ("2. Bottleneck aligning", "train on the features inside the blocks, then on the embedding", TRAINED),
    ("3. Bottleneck pruning", "score the channels inside the blocks, cut the lowest of all blocks", CUT),
    ("4. Embedding aligning", "train on the embedding of the teacher", TRAINED),
)
DISTILLATION: tuple[Box, ...] = (
    ("Photograph", "and some of its masks, true ones or the teacher's", FIXED),
    ("Hard prompts", "click where the student is still wrong, up to 9 rounds", CUT),
    ("Both models answer", "embedding, tokens, masks, predicted IoU", FIXED),
    ("Losses", "student against teacher, student against the truth", TRAINED),
    ("Hard masks", "more weight where the teacher is better than the student", TRAINED),
)


def _lines(sentence: str, width: int = 25) -> list[str]:
    lines = [""]
    for word in sentence.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def figure(boxes: tuple[Box, ...], title: str) -> str:
    """One row of boxes with an arrow from each to the next, as SVG that needs no other file."""
    total = len(boxes) * (WIDTH + GAP) - GAP + 20
    font = "font-family='system-ui, sans-serif' fill='#1a202c' text-anchor='middle'"
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {total} {HEIGHT + 20}' role='img'>",
        f"<title>{escape(title)}</title>",
        f"<rect width='{total}' height='{HEIGHT + 20}' fill='white'/>",
    ]
    for number, (name, sentence, colour) in enumerate(boxes):
        x = 10 + number * (WIDTH + GAP)
        middle = x + WIDTH / 2
        parts.append(f"<rect x='{x}' y='10' width='{WIDTH}' height='{HEIGHT}' rx='8' fill='{colour}'/>")
        parts.append(f"<text x='{middle}' y='38' {font} font-size='15' font-weight='bold'>{escape(name)}</text>")
        for line, words in enumerate(_lines(sentence)):
            parts.append(f"<text x='{middle}' y='{62 + 18 * line}' {font} font-size='13'>{escape(words)}</text>")
        if number:
            start, y = x - GAP, 10 + HEIGHT / 2
            parts.append(f"<path d='M{start + 4} {y}H{x - 10}' stroke='#4a5568' stroke-width='2'/>")
            parts.append(f"<path d='M{x - 4} {y}l-9 -5v10z' fill='#4a5568'/>")
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    """Write both."""
    for name, boxes in (("slimming", SLIMMING), ("distillation", DISTILLATION)):
        (FOLDER / f"{name}.svg").write_text(figure(boxes, f"The steps of {name}"), encoding="utf-8")


if __name__ == "__main__":
    main()
