"""The options of `samlet save`."""

from __future__ import annotations

from typing import Any

from samlet.cli.parsers.common import MODEL, add_command, add_model, add_output, add_store


def add_save(commands: Any) -> None:
    """Add `samlet save`."""
    parser = add_command(
        commands,
        "save",
        "a copy of a model with its weights stored in fewer bytes",
        "Write a model to a new folder, its weights stored as --store says. Only the file changes: whatever reads\n"
        "models reads the copy, which computes in float32 as its source does. fp16 and int8 round the weights; how\n"
        "far is said at the end. To compute in fewer bits too, see `samlet export --int8`.\n\n"
        "Any model that has weights can be saved: of the zoo, slimmed, distilled, or a checkpoint of others.",
    )
    add_model(parser, MODEL)
    add_store(parser, "float32")
    add_output(parser, "a new folder for the copy", "an earlier model")
