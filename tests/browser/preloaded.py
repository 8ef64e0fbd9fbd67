"""What apps of tests share: the process that they are forks of imports this once for all of them.

It does what each app would do again: import Gradio, parse the presets, compile the templates.
"""

from __future__ import annotations

import gc
from importlib import import_module

gc.disable()  # a third of the time of an import would be a search for garbage
for _name in ("comfy_ui.web.page", "comfy_ui.web.serve", "openai"):
    import_module(_name)

from comfy_ui.web.components.templates import TEMPLATES_DIR, _environment  # noqa: E402
from comfy_ui.workflow.presets.preset_store import list_presets  # noqa: E402

list_presets()
for _template in TEMPLATES_DIR.glob("*.html"):
    _environment().get_template(_template.name)
gc.freeze()  # nor does one in an app look at these objects, which would copy their memory
gc.enable()
