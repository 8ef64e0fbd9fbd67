"""What the documents say: their examples, and their generated parts.

``python -m tests.docs`` writes the tables of README and SECURITY.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from comfy_ui import errors
from comfy_ui.errors import ComfyHeadlessError
from comfy_ui.settings import Settings
from comfy_ui.web.auth.access import TABLE, AccessMode

ROOT = Path(__file__).resolve().parent.parent
README, SECURITY = ROOT / "README.md", ROOT / "SECURITY.md"


def examples(text: str, language: str) -> list[str]:
    """The blocks of code in that language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def execute(code: str, folder: Path) -> str:
    """Run an example in a process of its own; gives what it printed. Warnings are errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _variable(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    return str(alias.choices[-1]) if isinstance(alias, AliasChoices) else f"COMFY_UI_{name.upper()}"


def _default(name: str, field: FieldInfo) -> str:
    if name == "data_dir":
        return "by the custom of the system"
    value = field.default
    return "" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


# Each action of the table of rights stands in one line; those in one line have the same rights.
RIGHTS = {
    "see the page and the presets": ["see"],
    "run presets, cancel, see one's own jobs and results": ["see_own", "run", "cancel"],
    "send files, enhance prompts, have pictures described": ["upload", "enhance"],
    "open, run and save any workflow, bring styles, give the language model a system prompt": [
        "open_workflow"
    ],
    "fetch missing model files onto this machine": ["get_models"],
    "see the server's address, devices and errors": ["see_server"],
    "free its memory": ["free_memory"],
    "connect to another server": ["reconnect"],
    "bring a folder of this machine into the library": ["import_folder"],
}


def rights_table() -> str:
    """Who may do what, from the table that all handlers ask."""
    told = [action for actions in RIGHTS.values() for action in actions]
    assert sorted(told) == sorted(TABLE), "each action stands in RIGHTS once"
    rows = []
    for words, actions in RIGHTS.items():
        (rights,) = {tuple(TABLE[action][mode] for mode in AccessMode) for action in actions}  # type: ignore[index]
        roles = [role.name.lower() if role is not None else "nobody" for role in rights]
        rows.append(f"| {words} | {' | '.join(roles)} |")
    login = "logins of that role"
    rows.append(
        f"| who is the owner | everybody, or {login} | {login} | the Space's account, or {login} |"
    )
    head = [f"| | {' | '.join(AccessMode)} |", f"|---{'|---' * len(AccessMode)}|"]
    return "\n".join([*head, *rows]) + "\n"


def settings_table() -> str:
    """The table of all settings, from the model itself."""
    rows = [
        f"| `{_variable(name, field)}` | {_default(name, field)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | default | what it does |", "|---|---|---|", *rows]) + "\n"


def error_table() -> str:
    """The table of all errors, a kind below the kind it belongs to."""
    rows = [
        f"| {_indent(error)}`{error.__name__}` | {_when(error)} | {error.default_hint} | "
        f"{'yes' if error.default_retryable else ''} |"
        for error in _below(ComfyHeadlessError)
    ]
    head = ["| error | when | hint, unless there is a better one | again? |", "|---|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"


def _below(error: type[ComfyHeadlessError]) -> Iterator[type[ComfyHeadlessError]]:
    yield error
    for kind in error.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from _below(kind)


def _indent(error: type[ComfyHeadlessError]) -> str:
    return "–\u00a0" * (error.__mro__.index(ComfyHeadlessError))


def _when(error: type[ComfyHeadlessError]) -> str:
    told = inspect.getdoc(error) or ""
    return " ".join(told.partition("\n\n")[0].split()).replace("``", "`")


def secured(security: str) -> str:
    """SECURITY's text with its generated table as it is to be."""
    return _with(security, "rights", rights_table())


def up_to_date(readme: str) -> str:
    """The README's text with its generated tables as they are to be."""
    return _with(_with(readme, "settings", settings_table()), "errors", error_table())


def _with(readme: str, mark: str, table: str) -> str:
    before, mark, after = readme.partition(f"<!-- {mark} -->\n")
    _, _, rest = after.partition("\n## ")
    return f"{before}{mark}\n{table}\n## {rest}"


if __name__ == "__main__":
    SECURITY.write_text(secured(SECURITY.read_text(encoding="utf-8")), encoding="utf-8")
    README.write_text(up_to_date(README.read_text(encoding="utf-8")), encoding="utf-8")
