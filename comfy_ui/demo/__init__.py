"""The embedded engine: a small server that speaks ComfyUI's protocol and paints.

It answers the routes and sends the messages of a ComfyUI server as recorded, executes the graph
for real (scaling, masks, batches, video, sound, metadata), and where a model would sample it
paints generative pictures that depend on prompt, seed, size, sampler and steps. No model, no GPU.

Needs the extra ``ui`` (starlette, uvicorn, websockets, numpy, PyAV); loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .faults import Faults
    from .server import DemoServer, serve

__all__ = ["DemoServer", "Faults", "serve"]

_WHERE = {"DemoServer": "server", "serve": "server", "Faults": "faults"}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from ..features import require_feature

    require_feature("ui")
    value = getattr(import_module(f".{_WHERE[name]}", __name__), name)
    globals()[name] = value
    return value
