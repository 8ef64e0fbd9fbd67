"""Checks of a graph before it is queued: values, nodes, model files, permissions."""
