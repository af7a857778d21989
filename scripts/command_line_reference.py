"""The reference of the command line, docs/reference/command-line.md, from the parsers that the program itself uses."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from samlet.cli.parsers import build_parser


def _commands() -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """Name, one-line summary and parser of every command."""
    (actions,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    summaries = {choice.dest: choice.help or "" for choice in actions._choices_actions}
    for name, parser in actions.choices.items():
        yield name, summaries[name], parser


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _name(action: argparse.Action) -> str:
    """As it is typed, with what follows it."""
    if not action.option_strings:
        return f"`{action.metavar or action.dest}`"
    names = ", ".join(f"`{option}`" for option in action.option_strings)
    if action.choices is not None and action.metavar is None:
        return f"{names} {_cell(' | '.join(map(str, action.choices)))}"
    if action.nargs == 0:
        return names
    metavar = action.metavar or action.dest.upper()
    value = " ".join(metavar) if isinstance(metavar, tuple) else metavar
    return f"{names} {_cell(value)}"


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    return _cell(parser._get_formatter()._expand_help(action)) if action.help else ""


def _options(parser: argparse.ArgumentParser) -> list[str]:
    """A table for each group that the help prints."""
    lines = []
    for group in parser._action_groups:
        actions = [a for a in group._group_actions if a.help != argparse.SUPPRESS and a.dest != "help"]
        if actions:
            title = {"positional arguments": "arguments"}.get(group.title or "", group.title or "options")
            lines += [f"**{title[0].upper()}{title[1:]}**", "", "| name | meaning |", "|---|---|"]
            lines += [f"| {_name(action)} | {_help(parser, action)} |" for action in actions]
            lines.append("")
    return lines


def command_line() -> str:
    """Every command with its options, as `samlet COMMAND --help` prints them."""
    found = list(_commands())
    lines = ["| command | what it does |", "|---|---|"]
    lines += [f"| [`samlet {name}`](#samlet-{name}) | {_cell(summary)} |" for name, summary, _ in found]
    for name, _, parser in found:
        lines += ["", f"## samlet {name}", "", _cell(parser.description or ""), "", *_options(parser)]
    return "\n".join(lines).rstrip()


TABLES = {"command_line": command_line}
