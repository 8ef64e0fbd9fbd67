"""The page: its tabs, its theme, its HTML components and its access rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names

_WHERE = {"build": "page", "launch": "serve"}

if TYPE_CHECKING:
    from .page import build as build
    from .serve import launch as launch
else:  # hidden from mypy, which takes a computed __all__ for an empty one
    __getattr__, __dir__ = lazy_names(__name__, _WHERE, feature="ui")
    __all__ = [*_WHERE]  # noqa: PLE0604 -- the keys are strings
