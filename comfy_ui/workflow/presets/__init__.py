"""Presets: schema, files, and building graphs from values."""
