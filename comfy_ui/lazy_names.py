"""Load the public names of a package on first use, so that importing it stays cheap."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from .features import require_feature


def lazy_names(
    package: str, where: Mapping[str, str], *, feature: str = ""
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` for ``package`` (PEP 562).

    Args:
        package: its ``__name__``.
        where: public name → module that defines it, relative to the package.
        feature: an extra that all names need; without it they raise MissingFeatureError.
    """

    def load(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if feature:
            require_feature(feature)
        value = getattr(import_module(f".{where[name]}", package), name)
        setattr(sys.modules[package], name, value)  # later uses find it directly
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *where})

    return load, names
