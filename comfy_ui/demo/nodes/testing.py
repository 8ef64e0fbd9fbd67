"""Nodes for tests of clients; listed only when asked for."""

from __future__ import annotations

import time
from typing import Any

from .node_base import Context, NodeError, node


@node("DemoSleep", test_only=True)
def sleep(
    context: Context, *, image: Any, seconds: float, steps: int, blocking: bool = False, **_: Any
) -> tuple[Any]:
    """Takes its time, in steps that can be interrupted, or in one that cannot."""
    if blocking:
        time.sleep(seconds)
        return (image,)
    for step in range(steps):
        context.sleep(seconds / steps)
        context.step(step + 1, steps)
    return (image,)


@node("DemoRaise", test_only=True)
def fail(_context: Context, *, image: Any, message: str) -> tuple[Any]:
    del image
    raise NodeError(message)


@node("DemoText", test_only=True)
def text(context: Context, *, image: Any, text: str) -> tuple[Any]:
    context.text(text)
    return (image,)
