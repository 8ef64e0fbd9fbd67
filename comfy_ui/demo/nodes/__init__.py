"""Implementations of the engine's nodes. ``specs.json`` declares their inputs and outputs."""

from __future__ import annotations

from importlib import import_module

from .node_base import NODES, Context, Node, NodeError, OutputResult

_MODULES = (
    "loaders",
    "conditioning",
    "latents",
    "sampling",
    "images",
    "effects",
    "masks",
    "video",
    "audio",
    "saving",
    "mesh",
    "value_nodes",
)
for _module in _MODULES:
    import_module(f".{_module}", __name__)

__all__ = ["NODES", "Context", "Node", "NodeError", "OutputResult"]
