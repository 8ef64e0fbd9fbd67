"""Writes the generated parts of the README: ``python -m tests.docs``."""

from __future__ import annotations

from pathlib import Path

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from comfy_ui.settings import Settings

README = Path(__file__).resolve().parent.parent / "README.md"
MARK = "<!-- settings -->\n"


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


def with_settings(readme: str) -> str:
    """The README's text with the table of settings brought up to date."""
    before, _, after = readme.partition(MARK)
    _, _, rest = after.partition("\n## ")
    return f"{before}{MARK}\n{settings_table()}\n## {rest}"


if __name__ == "__main__":
    README.write_text(with_settings(README.read_text(encoding="utf-8")), encoding="utf-8")
