"""The page: one file a tab, one theme, one HTML builder, one place for access rules."""

from __future__ import annotations

from .app import build, launch

__all__ = ["build", "launch"]
