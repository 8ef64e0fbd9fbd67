"""Find the shipped ``workflows/`` and ``assets/``: beside the package, or inside it in a wheel."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


@cache
def _find(name: str) -> Path:
    packaged = _PACKAGE / "_data" / name  # put there by the wheel build, see pyproject.toml
    return packaged if packaged.is_dir() else _PACKAGE.parent / name


def workflows_dir() -> Path:
    """The folder of shipped presets: ``NAME.json`` with ``NAME.toml``."""
    return _find("workflows")


def assets_dir() -> Path:
    """The folder of stylesheet, icon and example images."""
    return _find("assets")
