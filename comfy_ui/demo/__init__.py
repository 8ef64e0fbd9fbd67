"""The demo engine: a small server that implements ComfyUI's protocol and paints images.

It answers the routes and sends the messages of a ComfyUI server as recorded, and executes the graph
(scaling, masks, batches, video, audio, metadata). In place of a model's sampling it paints
generative images that depend on prompt, seed, size, sampler and steps. No model, no GPU.

Needs the extra ``ui`` (aiohttp, numpy, PyAV); loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names

_WHERE = {"DemoServer": "demo_server", "Faults": "fault_switches"}

if TYPE_CHECKING:
    from .demo_server import DemoServer as DemoServer
    from .fault_switches import Faults as Faults
else:  # hidden from mypy, which takes a computed __all__ for an empty one
    __getattr__, __dir__ = lazy_names(__name__, _WHERE, feature="ui")
    __all__ = [*_WHERE]  # noqa: PLE0604 -- the keys are strings
