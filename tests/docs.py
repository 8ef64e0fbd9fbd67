"""Writes the generated parts of the README: ``python -m tests.docs``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from comfy_ui import errors
from comfy_ui.errors import ComfyHeadlessError
from comfy_ui.settings import Settings

README = Path(__file__).resolve().parent.parent / "README.md"


def _variable(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    return str(alias.choices[-1]) if isinstance(alias, AliasChoices) else f"COMFY_UI_{name.upper()}"


def _default(name: str, field: FieldInfo) -> str:
    if name == "data_dir":
        return "by the custom of the system"
    value = field.default
    return "" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


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


def up_to_date(readme: str) -> str:
    """The README's text with its generated tables as they are to be."""
    return _with(_with(readme, "settings", settings_table()), "errors", error_table())


def _with(readme: str, mark: str, table: str) -> str:
    before, mark, after = readme.partition(f"<!-- {mark} -->\n")
    _, _, rest = after.partition("\n## ")
    return f"{before}{mark}\n{table}\n## {rest}"


if __name__ == "__main__":
    README.write_text(up_to_date(README.read_text(encoding="utf-8")), encoding="utf-8")
