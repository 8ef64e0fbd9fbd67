"""The form on Create, for other parts of the page to fill in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from ....errors import ComfyHeadlessError
from ....storage.records import JobError
from ....workflow.presets.preset_store import Preset
from ...components import preset_form
from ...components.html import Html
from ...components.preset_picker import picker
from ...components.templates import error_notice
from ...preset_catalog import CatalogEntry
from ...services import Services

__all__ = ["CreateForm"]


class CreateForm:
    """The updates for the components of the form.

    A handler that shows a preset lists :attr:`components` as its outputs and returns what one of
    the methods gives.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._pickers: dict[tuple[str, bool], Html] = {}
        self._drawn: Sequence[CatalogEntry] = ()
        self.components: list[Any] = []
        """Picker, form, prompt and notice; the Create tab adds them when it is built."""

    def show(
        self, preset_id: str, values: Mapping[str, Any], *, prompt: str | None = None
    ) -> tuple[Any, ...]:
        """Show a preset with ``values``. Only a ``prompt`` that is not empty replaces the user's.

        The preset's own prompt is in the form: the page's script fills an empty box with it.
        """
        catalog = self._services.catalog
        entry = catalog.entry(preset_id)
        return (
            self._picker(entry.preset.id),
            preset_form.form(
                entry.preset,
                values,
                library=catalog.library,
                canvas_presets=self._canvas_presets(entry.preset),
            ),
            prompt or gr.skip(),
            self._readiness_notice(entry.reason),
        )

    def _canvas_presets(self, preset: Preset) -> dict[str, str]:
        """The presets for a mask and for a frame, preferably of the same model family."""
        if preset.by_role("image") is None:
            return {}
        entries = {
            task: self._services.catalog.for_tasks((task,), preset.family)
            for task in ("inpaint", "outpaint")
        }
        return {task: entry.preset.id for task, entry in entries.items() if entry is not None}

    def _picker(self, chosen: str) -> Html:
        """Draw the picker, or return it as drawn for another page: it takes 15 ms of CPU time."""
        catalog = self._services.catalog
        if self._drawn is not catalog.entries:
            self._pickers.clear()
            self._drawn = catalog.entries
        key = chosen, catalog.online
        if key not in self._pickers:
            tool = [entry for entry in catalog.tools if entry.preset.id == chosen]
            entries = (*tool, *catalog.entries)
            self._pickers[key] = picker(entries, chosen, online=catalog.online)
        return self._pickers[key]

    def _readiness_notice(self, reason: str) -> Html:
        if not reason:
            return Html("")
        if any(entry.ready for entry in self._services.catalog.entries):
            return error_notice(JobError(reason))
        return error_notice(JobError("No preset can run on this server yet.", hint=reason))

    @staticmethod
    def prompt(text: str | None) -> tuple[Any, ...]:
        """Change the prompt alone; an empty one changes nothing."""
        return gr.skip(), gr.skip(), text or gr.skip(), gr.skip()

    @staticmethod
    def error(error: ComfyHeadlessError) -> tuple[Any, ...]:
        """Keep the form and show an error."""
        return gr.skip(), gr.skip(), gr.skip(), error_notice(JobError.of(error))
