"""The workers: each runs jobs on one server."""
