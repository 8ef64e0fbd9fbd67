"""Shell completion, written from the parser itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping

SHELLS = ("bash", "zsh", "fish")
# Commands whose first argument may be a preset.
_PRESET_COMMANDS = frozenset({"run", "models", "download", "check", "convert", "controls"})


def completion_script(
    parser: argparse.ArgumentParser, shell: str, *, presets: Mapping[str, str]
) -> str:
    """The script that teaches a shell the commands, options, choices and presets.

    Args:
        parser: the parser with all commands.
        shell: one of :data:`SHELLS`.
        presets: title by id.
    """
    commands = _commands(parser)
    if shell == "fish":
        return "\n".join(_fish(parser, commands, presets)) + "\n"
    words = {name: [*_commands(sub), *_words(sub)] for name, sub in commands.items()}
    for name in _PRESET_COMMANDS:
        words[name] += presets
    cases = "\n".join(f"    {name}) words='{' '.join(each)}' ;;" for name, each in words.items())
    top = " ".join([*commands, *_words(parser)])
    lead = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return f"""{lead}_comfy_ui() {{
  local word words='{top}'
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$word" in
{cases}
    *) continue ;;
    esac
    break
  done
  COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _comfy_ui comfy-ui
"""


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:  # noqa: SLF001 -- argparse has no public way to them
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            return dict(action.choices)
    return {}


def _words(parser: argparse.ArgumentParser) -> list[str]:
    words: list[str] = []
    for action in parser._actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            continue
        words += action.option_strings
        words += map(str, action.choices or ())
    return words


def _fish(
    parser: argparse.ArgumentParser,
    commands: Mapping[str, argparse.ArgumentParser],
    presets: Mapping[str, str],
) -> Iterator[str]:
    for name, sub in commands.items():
        described = f"-a {name} -d {_quoted(sub.description)}"
        yield f"complete -c comfy-ui -n __fish_use_subcommand {described}"
        seen = f"-n '__fish_seen_subcommand_from {name}' "
        yield from _fish_options(sub, seen)
        for action, nested in _commands(sub).items():
            yield f"complete -c comfy-ui {seen}-a {action} -d {_quoted(nested.description)}"
    yield from _fish_options(parser, "-n __fish_use_subcommand ")
    where = f"-n '__fish_seen_subcommand_from {' '.join(sorted(_PRESET_COMMANDS))}'"
    for preset, title in presets.items():
        yield f"complete -c comfy-ui {where} -a {preset} -d {_quoted(title)}"


def _fish_options(parser: argparse.ArgumentParser, condition: str) -> Iterator[str]:
    for action in parser._actions:  # noqa: SLF001
        names = [
            f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"
            for option in action.option_strings
        ]
        if names:
            choices = f" -x -a '{' '.join(map(str, action.choices))}'" if action.choices else ""
            yield (
                f"complete -c comfy-ui {condition}{' '.join(names)}{choices}"
                f" -d {_quoted(action.help)}"
            )


def _quoted(text: str | None) -> str:
    return "'" + (text or "").replace("\\", "\\\\").replace("'", "\\'") + "'"
