"""`samlet push`."""

from __future__ import annotations

import argparse

from samlet.cli.common import show
from samlet.publishing.push import push_to_hub


def run(options: argparse.Namespace) -> None:
    """Upload one model folder, or show what would be."""
    made = push_to_hub(
        options.model_dir,
        options.repository,
        private=options.private,
        licence=options.licence,
        message=options.message,
        replace_card=options.replace_card,
        dry_run=options.dry_run,
    )
    content = {
        "url": made.url,
        "commit": made.commit or None,
        "files": [{"path": name, "bytes": size} for name, size in made.files.items()],
        "card": made.card or None,
    }
    written = ", ".join(f"{name} ({size / 1e6:.2f} MB)" for name, size in made.files.items())
    if options.dry_run:
        text = f"{made.card}\n{made.url}: nothing was uploaded; these files would be: {written}"
    else:
        kept = "" if made.card else "; its README.md stays, --replace-card replaces it"
        text = f"{made.url}, commit {made.commit[:12]}: {written}{kept}\nsamlet.load({options.repository!r}) finds it"
    show(options, content, text)
