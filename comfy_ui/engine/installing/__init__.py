"""Fetch, unpack and check a version."""
