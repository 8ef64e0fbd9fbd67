"""Run a version: its command line, its process and its log."""
