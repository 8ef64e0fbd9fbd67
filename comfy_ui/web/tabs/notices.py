"""Notices: what went wrong, that something worked, and that the demo engine is in use."""

from __future__ import annotations

from ...storage.records import JobError
from ..components.html import Html
from ..components.templates import notice, render

__all__ = ["demo_banner", "error_notice", "success_notice"]


def error_notice(error: JobError, *, details: bool = True) -> Html:
    """An error with its hint, and its ``details`` folded away."""
    return notice(error.message, error.hint, error.details if details else "")


def success_notice(text: str) -> Html:
    """A sentence that confirms an action."""
    return render("status_tab.html", "confirmation", text=text)


def demo_banner(*, embedded: bool, is_admin: bool) -> Html:
    """The banner above Create while the demo engine is in use; otherwise nothing."""
    return render("status_tab.html", "banner", is_admin=is_admin) if embedded else Html("")
