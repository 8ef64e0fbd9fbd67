"""Presets: schema, files, and the way from values to a graph."""
