"""Blocks of our own HTML on Gradio's page, with events for Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

__all__ = ["from_page", "html_block"]


def html_block(value: str = "", *, sends: Sequence[str] = (), **options: Any) -> Any:
    """A ``gr.HTML`` with custom events.

    A button inside with ``data-send="recall"`` fires the event ``recall`` with its other
    ``data-`` attributes as event data (see ``assets/js/app.js``), so that
    ``html_block(sends=["recall"]).recall(handler)`` works. Gradio reads the event names from
    the script.
    """
    names = ", ".join(f"'{name}'" for name in sends)
    return gr.HTML(
        value,
        js_on_load=f"window.comfy.island(element, trigger, watch, [{names}])",
        apply_default_css=False,
        **options,
    )


def from_page(event: gr.EventData) -> Mapping[str, Any]:
    """The ``data-`` attributes of an event. The page sends them, so validate each."""
    data = event._data  # noqa: SLF001 -- reading a missing name through the class raises
    return data if isinstance(data, dict) else {}
