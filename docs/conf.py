"""The documentation site: ``just docs`` builds it without network, and a warning fails it."""

from __future__ import annotations

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

import comfy_ui

project = "comfy-ui"
author = "the comfy-ui contributors"
copyright = f"{author}, MIT license"  # noqa: A001 -- Sphinx's name
version = release = comfy_ui.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "comfy-ui"
html_favicon = "../assets/icons/icon.svg"
html_show_sphinx = False
html_copy_source = False

autodoc_default_options = {"members": True, "inherited-members": True}
autodoc_class_signature = "separated"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_custom_sections = [("Keys", "params_style")]
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

# References to errors and methods have to resolve. Types in signatures may be private or belong to
# other packages, and docstrings may name internal functions.
nitpicky = True
nitpick_ignore_regex = [
    (f"py:{role}", ".*") for role in ("class", "obj", "func", "mod", "data", "attr")
]


def check_reference(app: Sphinx, error: Exception | None) -> None:
    """Fail the build if a public name or client method is missing from the reference."""
    if error is not None or app.builder.name != "html":
        return
    documented = app.env.get_domain("py").objects  # type: ignore[attr-defined]
    names = {f"comfy_ui.{name}" for name in comfy_ui.__all__}
    for client in (comfy_ui.ComfyClient, comfy_ui.ComfyWSClient):
        methods = (name for name in dir(client) if not name.startswith("_"))
        names |= {f"comfy_ui.{client.__name__}.{name}" for name in methods}
    if missing := sorted(names - set(documented)):
        raise ExtensionError(f"not in the library reference: {', '.join(missing)}")


def setup(app: Sphinx) -> None:
    """Register the check."""
    app.connect("build-finished", check_reference)
