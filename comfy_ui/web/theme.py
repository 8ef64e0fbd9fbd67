"""The look and the scripts: Gradio's theme takes every color from ``assets/css/style.css``."""

from __future__ import annotations

import hashlib
import inspect
from functools import cache
from typing import Any

import gradio as gr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..resources import assets_dir
from .http.web_app_manifest import HEAD

__all__ = ["first_script", "head", "routes", "script_path", "theme"]

_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif")
_STYLES = (
    "style.css",
    "stage.css",
    "grid.css",
    "models.css",
    "forms.css",
    "prompt.css",
    "loras.css",
    "guides.css",
    "canvas.css",
    "labels.css",
    "recordings.css",
    "admin.css",
)
_SCRIPTS = (
    "text_tools.js",
    "catalog.js",
    "app.js",
    "click_target.js",
    "upload_fields.js",
    "video_fields.js",
    "languages.js",
    "live_preview.js",
    "zoom.js",
    "recordings.js",
    "viewer.js",
    "labels.js",
    "saved_searches.js",
    "share_files.js",
    "library_tab.js",
    "folder_import.js",
    "queue_tab.js",
    "preset_picker.js",
    "preset_defaults.js",
    "generate.js",
    "generate_menu.js",
    "grid_dialog.js",
    "estimate.js",
    "workflows_tab.js",
    "form_editor.js",
    "result_tools.js",
    "dropped_files.js",
    "canvas_drawing.js",
    "canvas.js",
    "account.js",
    "admin.js",
    "settings_panel.js",
    "servers_panel.js",
    "status_sections.js",
    "model_downloads.js",
    "model_manager.js",
    "prompt_marks.js",
    "prompt_tools.js",
    "styles.js",
    "completion.js",
    "model_browser.js",
    "loras.js",
    "guides.js",
    "mobile_nav.js",
)
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def theme() -> Any:
    """Build the theme: system fonts, the stylesheet's colors; no web font, no second accent."""
    values = {
        "body_background_fill": "var(--c-bg)",
        "body_text_color": "var(--c-ink)",
        "body_text_color_subdued": "var(--c-quiet)",
        "background_fill_primary": "var(--c-card)",
        "background_fill_secondary": "var(--c-sunk)",
        "border_color_primary": "var(--c-line)",
        "border_color_accent": "var(--c-accent)",
        "color_accent": "var(--c-accent)",
        "color_accent_soft": "var(--c-tint)",
        "link_text_color": "var(--c-accent)",
        "link_text_color_hover": "var(--c-accent)",
        "link_text_color_visited": "var(--c-accent)",
        "link_text_color_active": "var(--c-accent)",
        "block_background_fill": "transparent",
        "block_label_background_fill": "transparent",
        "block_label_text_color": "var(--c-quiet)",
        "block_title_text_color": "var(--c-ink)",
        "block_info_text_color": "var(--c-quiet)",
        "panel_background_fill": "transparent",
        "input_background_fill": "var(--c-sunk)",
        "input_background_fill_focus": "var(--c-sunk)",
        "input_placeholder_color": "var(--c-quiet)",
        "input_border_color": "transparent",
        "input_border_color_focus": "var(--c-accent)",
        "button_primary_background_fill": "var(--c-accent)",
        "button_primary_background_fill_hover": "var(--c-accent-deep)",
        "button_primary_text_color": "var(--c-on-accent)",
        "button_primary_border_color": "transparent",
        "button_secondary_background_fill": "var(--c-sunk)",
        "button_secondary_background_fill_hover": "var(--c-line)",
        "button_secondary_text_color": "var(--c-ink)",
        "button_secondary_border_color": "transparent",
        "loader_color": "var(--c-accent)",
        "slider_color": "var(--c-accent)",
    }
    plain = {
        "block_border_width": "0px",
        "block_padding": "0px",
        "block_shadow": "none",
        "block_label_border_width": "0px",
        "block_label_shadow": "none",
        "block_title_border_width": "0px",
        "block_title_text_size": "14px",
        "block_title_text_weight": "550",
        "panel_border_width": "0px",
        "input_border_width": "1px",
        "input_radius": "var(--round-s)",
        "input_padding": "8px 11px",
        "input_shadow": "none",
        "button_border_width": "0px",
        "button_primary_shadow": "none",
        "button_secondary_shadow": "none",
        "layout_gap": "12px",
        "form_gap_width": "0px",
    }
    # Colors come from variables with light and dark values; Gradio's own dark values must not win.
    parameters = inspect.signature(gr.themes.Base.set).parameters
    both = {dark: value for name, value in values.items() if (dark := f"{name}_dark") in parameters}
    return gr.themes.Base(font=_FONTS, font_mono=_MONO).set(**values, **both, **plain)


def head() -> str:
    """Return what the page's head has of ours: the stylesheet, inline.

    Gradio's ``css=`` rewrites selectors and drops half of the rules inside ``@media``.
    """
    style = "".join((assets_dir() / "css" / name).read_text(encoding="utf-8") for name in _STYLES)
    return (
        '<meta name="color-scheme" content="light dark">'
        '<meta name="referrer" content="same-origin">'
        f"{HEAD}<style>{style}</style>"
    )


def first_script() -> str:
    """Return the script that runs before all others."""
    return (assets_dir() / "js" / "idle_frames.js").read_text(encoding="utf-8")


@cache
def _script() -> str:
    return "".join((assets_dir() / "js" / name).read_text(encoding="utf-8") for name in _SCRIPTS)


def script_path() -> str:
    """Return the path of the file with all scripts. It names their content.

    A file of their own, because browsers keep it with its compiled code. Inline scripts are sent,
    parsed and compiled again for each page.
    """
    return f"assets/page-{hashlib.sha256(_script().encode()).hexdigest()[:8]}.js"


def routes() -> list[Route]:
    """The route of the scripts, for ``app_kwargs`` of Gradio's ``launch``; open to all."""

    async def script(_: Request) -> Response:
        return Response(_script(), media_type="text/javascript")

    return [Route(f"/{script_path()}", script)]
