"""The form on Create, for other parts of the page to fill in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from ....errors import ComfyHeadlessError
from ....storage.records import JobError
from ....workflow.presets.preset_store import Preset
from ...components import preset_form
from ...components.html import Html
from ...components.preset_picker import picker
from ...components.templates import error_notice
from ...services import Services

__all__ = ["CreateForm"]


class CreateForm:
    """The updates for the components of the form.

    A handler that shows a preset lists :attr:`components` as its outputs and returns what one of
    the methods gives.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self.components: list[Any] = []
        """Picker, form, prompt and notice; the Create tab adds them when it is built."""

    def show(
        self, preset_id: str, values: Mapping[str, Any], *, prompt: str | None = None
    ) -> tuple[Any, ...]:
        """Show a preset with ``values``, and ``prompt`` or else the preset's own prompt."""
        preset = self._services.catalog.entry(preset_id).preset
        param = preset.by_role("prompt")
        text = prompt or (str(param.default) if param is not None and param.default else "")
        return self.update(preset, values, text or gr.skip())

    def update(self, preset: Preset, values: Mapping[str, Any], prompt: Any) -> tuple[Any, ...]:
        """Show a preset with ``values``. ``prompt`` is a text or ``gr.skip()``."""
        catalog = self._services.catalog
        reason = catalog.entry(preset.id).reason
        return (
            picker(catalog.entries, preset.id),
            preset_form.form(preset, values, library=catalog.library),
            prompt,
            error_notice(JobError(reason)) if reason else Html(""),
        )

    @staticmethod
    def prompt(text: Any) -> tuple[Any, ...]:
        """Change the prompt alone."""
        return gr.skip(), gr.skip(), text, gr.skip()

    @staticmethod
    def error(error: ComfyHeadlessError) -> tuple[Any, ...]:
        """Keep the form and show an error."""
        return gr.skip(), gr.skip(), gr.skip(), error_notice(JobError.of(error))
