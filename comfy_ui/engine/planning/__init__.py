"""Decide what to install: the source, the PyTorch build, the steps."""
