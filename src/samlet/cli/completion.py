"""Scripts that let a shell complete commands, options, choices, names of models and files, made from the parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

SHELLS = ("bash", "zsh", "fish")


def _takes_model(action: argparse.Action) -> bool:
    return action.metavar == "M" and action.type is None


def script(parser: argparse.ArgumentParser, shell: str, models: tuple[str, ...]) -> str:
    """The script for a shell.

    Args:
        parser: of the whole command line.
        shell: one of `SHELLS`.
        models: names that complete where a model is asked for.
    """
    if shell == "fish":
        return "\n".join(_fish(parser, models)) + "\n"
    text = _BASH.format(
        commands=" ".join(_commands(parser)),
        values="\n".join(_values(parser, models)),
        options="\n".join(
            f'    {name}) options="{" ".join(_options(command))}"; models="{_positional(command, models)}" ;;'
            for name, command in _commands(parser).items()
        ),
    )
    return text if shell == "bash" else _ZSH + text


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (chosen,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(chosen.choices)


def _options(command: argparse.ArgumentParser) -> list[str]:
    return [name for action in command._actions for name in action.option_strings]


def _positional(command: argparse.ArgumentParser, models: tuple[str, ...]) -> str:
    takes = any(not action.option_strings and _takes_model(action) for action in command._actions)
    return " ".join(models) if takes else ""


def _of(action: argparse.Action, models: tuple[str, ...]) -> list[str]:
    """What an option can be given."""
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    return list(models) if _takes_model(action) else []


def _values(parser: argparse.ArgumentParser, models: tuple[str, ...]) -> Iterator[str]:
    """Branches of a `case` on command and option before the cursor."""
    for name, command in _commands(parser).items():
        for action in command._actions:
            found = _of(action, models)
            if found and action.option_strings:
                places = "|".join(f'"{name} {option}"' for option in action.option_strings)
                files = "1" if _takes_model(action) else ""
                yield f'    {places}) words="{" ".join(found)}"; known=1; files={files} ;;'


_ZSH = """autoload -Uz bashcompinit && bashcompinit
"""

_BASH = """# samlet: completion for bash and zsh
_samlet() {{
  local cur="${{COMP_WORDS[COMP_CWORD]}}" prev="${{COMP_WORDS[COMP_CWORD-1]}}" command="${{COMP_WORDS[1]}}"
  local words="" options="" models="" known="" files=1
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{commands} --help --version --completion" -- "$cur"))
    return
  fi
  case "$command $prev" in
{values}
  esac
  case "$command" in
{options}
  esac
  if [ -z "$known" ]; then
    case "$cur" in
      -*) words="$options"; files="" ;;
      *) words="$models" ;;
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
  if [ -n "$files" ]; then
    local IFS=$'\\n'
    COMPREPLY+=($(compgen -f -- "$cur"))
  fi
}}
complete -o filenames -F _samlet samlet
"""


def _fish(parser: argparse.ArgumentParser, models: tuple[str, ...]) -> Iterator[str]:
    yield "# samlet: completion for fish"
    names = _commands(parser)
    (chosen,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    told = {action.dest: action.help or "" for action in chosen._choices_actions}
    for name in names:
        yield f"complete -c samlet -n __fish_use_subcommand -f -a {name} -d {_quoted(told.get(name, ''))}"
    for name, command in names.items():
        when = f"-n '__fish_seen_subcommand_from {name}'"
        for action in command._actions:
            values = _of(action, models)
            given = f" -a {_quoted(' '.join(values))}" if values else ""
            if not action.option_strings:
                if values:
                    yield f"complete -c samlet {when}{given}"
                continue
            long = " ".join(f"-l {option[2:]}" for option in action.option_strings if option.startswith("--"))
            needs = "" if action.nargs == 0 else " -r" + (" -f" if values and not _takes_model(action) else "")
            text = (action.help or "").replace("%%", "%").split("; ")[0].split(". ")[0]
            if long:
                yield f"complete -c samlet {when} {long}{needs}{given} -d {_quoted(text)}"


def _quoted(text: str) -> str:
    return "'" + " ".join(text.split()).replace("\\", "\\\\").replace("'", "\\'") + "'"
