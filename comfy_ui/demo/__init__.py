"""The demo engine: a small server that speaks ComfyUI's protocol and paints.

It answers the routes and sends the messages of a ComfyUI server as recorded, executes the graph
for real (scaling, masks, batches, video, sound, metadata), and where a model would sample it
paints generative pictures that depend on prompt, seed, size, sampler and steps. No model, no GPU.

Needs the extra ``ui`` (aiohttp, numpy, PyAV); loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names

_WHERE = {"DemoServer": "demo_server", "Faults": "fault_switches"}

if TYPE_CHECKING:
    from .demo_server import DemoServer as DemoServer
    from .fault_switches import Faults as Faults

__getattr__, __dir__ = lazy_names(__name__, _WHERE, feature="ui")
__all__ = [*_WHERE]  # noqa: PLE0604 -- the keys are strings
